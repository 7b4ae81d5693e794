/* log/log_int.h - shared by the files of this folder alone. */
#ifndef LOG_LOG_INT_H
#define LOG_LOG_INT_H

#include "log/log.h"

/* Length of the character at p when it is well-formed UTF-8 (RFC 3629) and may stand in a line, else 0. */
size_t log_char_bytes(const unsigned char *p, size_t n);
const char *log_tag(void);  /* syslog_name */
const char *log_host(void); /* without its domain */

#endif
