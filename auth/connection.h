/* auth/connection.h - serves one client of the authentication protocol until it goes. */
#ifndef AUTH_CONNECTION_H
#define AUTH_CONNECTION_H

#include "service/service.h"

void connection_serve(struct service_conn *conn);

#endif
