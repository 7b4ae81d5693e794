/* master/reload.c - putting a configuration in force, as one act: it is read and checked and all its sockets
 * are bound before anything of the old one is touched; on an error the old one stays. Old children then
 * finish what they do while new ones start. */
#include "master.h"
#include "conf/ports.h"
#include "log/log.h"

static enum rc bind_all(struct running *r, struct list *fresh, struct err *e)
{
	enum rc rc = RC_OK;
	LIST_EACH(it, &r->services)
	{
		if (rc != RC_OK)
			break;
		rc = listen_for(r, LIST_ENTRY(it, struct service, link), fresh, e);
	}
	return rc;
}

/* The listeners now belong to the new services. */
static void point_listeners(struct running *r)
{
	LIST_EACH(it, &master.listeners)
	LIST_ENTRY(it, struct listener, link)->service = NULL;
	LIST_EACH(it, &r->services)
	{
		struct service *s = LIST_ENTRY(it, struct service, link);
		for (size_t i = 0; i < s->listeners; i++)
			s->listener[i]->service = s;
	}
}

static enum rc put_in_force(struct running *r, struct err *e)
{
	struct list fresh = { &fresh, &fresh };
	enum rc rc = bind_all(r, &fresh, e);
	if (rc != RC_OK) {
		listen_discard(&fresh);
		return rc;
	}
	overlap_keep(r);
	listen_adopt(&fresh);
	point_listeners(r);
	return RC_OK;
}

void first_start(struct running *r)
{
	struct err e;
	if (put_in_force(r, &e) != RC_OK)
		die("%s", e.text);
}

void start_all(void)
{
	LIST_EACH_SAFE(it, &master.now->services)
	service_begin(LIST_ENTRY(it, struct service, link));
}

/* What names of ports mean is kept for the process as a whole. */
static void ports_of(const struct running *r)
{
	struct err e;
	if (port_names_set(conf_str(r->conf, "known_tcp_ports"), &e) != RC_OK)
		log_warning("%s", e.text);
}

static enum rc reload_steps(struct running **former, struct err *e)
{
	struct running *r;
	enum rc rc = config_load(master.opt.dir, &r, e);
	if (rc != RC_OK) {
		ports_of(master.now);
		return rc;
	}
	if (strcmp(conf_str(r->conf, "queue_directory"), conf_str(master.now->conf, "queue_directory")) != 0)
		rc = err_set(e, RC_DENIED, "%s/main.cf: queue_directory cannot change without a restart",
			     conf_dir(r->conf));
	if (rc == RC_OK)
		rc = put_in_force(r, e);
	if (rc != RC_OK) {
		config_release(&r);
		ports_of(master.now);
		return rc;
	}
	*former = master.now;
	master.now = r;
	return RC_OK;
}

void reload(void *unused)
{
	struct err e;
	struct running *former;
	(void)unused;
	if (master.stopping)
		return;
	systemd_notify_reloading();
	log_info("reload -- version %s, configuration %s", POSTERN_VERSION, master.opt.dir);
	if (reload_steps(&former, &e) != RC_OK) {
		log_error("%s", e.text);
		log_error("reload failed: the configuration in force stays");
		systemd_notify("READY=1\nSTATUS=running; the last reload failed");
		return;
	}
	logfile_open(master.now->conf);
	listen_close_unwanted();
	former->refs++; /* until the loop over its services is over */
	LIST_EACH_SAFE(it, &former->services)
	service_retire(LIST_ENTRY(it, struct service, link));
	config_unref(former);
	start_all();
	systemd_notify("READY=1\nSTATUS=running");
}
