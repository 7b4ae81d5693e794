/* master/config.h - questions about a configuration. */
#ifndef MASTER_CONFIG_H
#define MASTER_CONFIG_H

#include "conf/mastercf.h"

/* What took over the job of a program of Postfix that does not exist here, or NULL. */
const char *config_instead(const char *program);
/* The binary that stands for a program name of master.cf. */
const char *config_program_path(const struct conf *c, const char *name, struct arena *a);
const char *config_type_name(enum service_type t);

#endif
