/* conf/port.h - TCP ports by number or name: known_tcp_ports first, then services(5). Whoever takes a port from the
 * configuration or a next hop asks here. */
#ifndef CONF_PORT_H
#define CONF_PORT_H

#include "base/span.h"

/* known_tcp_ports, "name=name=number, ...", for this process. Copied. Bad entries are warned of and left out. Until it is
 * called only services(5) is asked. */
void port_set_known(struct span list);
/* Reads services(5) once, for a process that cannot do so later. In prepare(). */
void port_load_services(void);
/* RC_SYNTAX: neither a number from 1 to 65535 nor a name that is known. Without port_load_services() it may read files. */
MUST_CHECK enum rc port_parse(struct span text, uint16_t *out);

#endif
