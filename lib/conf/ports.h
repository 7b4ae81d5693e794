/* conf/ports.h - names of TCP ports: those of known_tcp_ports, then those of services(5). */
#ifndef CONF_PORTS_H
#define CONF_PORTS_H

#include "base/rc.h"
#include "base/span.h"

/* Puts the names of `list` in force for this process: "lmtp=24, smtps=submissions=465". An error changes nothing.
 * errors   RC_SYNTAX the story names the element; RC_LIMIT */
MUST_CHECK enum rc port_names_set(const char *list, struct err *e);
MUST_CHECK enum rc port_names_check(const char *list, struct err *e); /* looks only */

/* Reads services(5) once, for a process that cannot do so later: in prepare(). */
void port_load_services(void);
/* "25" or a name; 0 to 65535. For a name that is not in the list it reads services(5), unless those were loaded. */
bool port_parse(struct span text, uint16_t *out);

#endif
