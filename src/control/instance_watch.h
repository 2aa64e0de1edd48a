#pragma once
/* control/instance_watch.h - what is to be thought of a program that runs, from what it says about itself and from its
 * silence. Layer: control. The rule alone: pure, without a clock.
 *
 *   TIMEOUT  no report for WATCH_TIMEOUT_MS, and its node, which passes reports on, says so
 *   ERROR    it has stopped folding: an event was refused
 *   STALL    it is behind its input and has folded nothing for WATCH_STALL_MS
 *   WARNING  errors within WATCH_ERROR_MS, or effects are parked
 *   NOMINAL  none of these
 * (EXIT is its node's to tell: the program has ended.)
 *
 * Silence is measured by the node and comes in its heartbeat. A replica that does not hear the node therefore knows
 * nothing and says nothing, and replicas that hear the same heartbeat say the same. A program that has never reported -
 * one of an older SDK, or none of ours - is not judged. */
#include "event/catalogue.h"
#include "wire/umbilical.h"

/* 20 s: four reports in a row did not come (chosen; test_umbilical: every_state). */
#define WATCH_TIMEOUT_MS 20000
/* 20 s: a fold takes microseconds and a log is looked at each second (chosen; test_umbilical: every_state). */
#define WATCH_STALL_MS 20000
/* 60 s: a person who looks finds it; and one error does not make the state change more than twice (chosen;
 * test_umbilical: every_state). */
#define WATCH_ERROR_MS 60000
#define WATCH_CAUSE_SIZE 512

/* False: nothing is known. ret_cause: in words, also for NOMINAL. */
bool instance_watch(const struct umbilical *u, enum health *ret_health, char ret_cause[static WATCH_CAUSE_SIZE]);
