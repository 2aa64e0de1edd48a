#pragma once
/* base/banned.h - force-included everywhere: functions that have hurt others fail to compile. Layer: base. */
#include <stdio.h> /* declared before they are poisoned */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atoll gets popen localtime gmtime ctime asctime tmpnam mktemp
