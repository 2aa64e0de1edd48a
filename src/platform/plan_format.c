/* Rule for the log's format: new kinds of events are written once every replica reads them. */
#include "platform/planner.h"

void plan_format(struct planner *p)
{
    int64_t format = p->seen->format_min < EVENT_FORMAT ? p->seen->format_min : EVENT_FORMAT;
    if (format <= p->model->format)
        return;
    event_list_add(p->out, EVENT_RAISE_FORMAT, p->ids)->raise_format =
        (struct raise_format){format, because(p->out, "{\"rule\":\"every replica reads it\",\"replicas\":%lld}",
                                              (long long)p->seen->replicas_n)};
}
