/* queue/qid_form.c - which form queue ids have (qid.h). Ids are made by who hands a message to cleanup(8), and enable_long_queue_ids is a
 * setting of that cleanup service: main.cf's, or with -o in master.cf. */
#include "conf/mastercf.h"
#include "queue/qid.h"

static bool with_setting(const struct conf *c, struct span name, struct span value)
{
	bool on = conf_bool(c, "enable_long_queue_ids");
	struct conf *own;
	struct err e;

	if (conf_load(conf_dir(c), &own, &e) != RC_OK)
		return on;
	conf_override(own, name, value);
	on = conf_bool(own, "enable_long_queue_ids");
	conf_free(&own);
	return on;
}

static bool of_entry(const struct conf *c, const struct master_entry *en)
{
	bool on = conf_bool(c, "enable_long_queue_ids");
	struct span name, value;

	for (size_t pos = 1; mastercf_next_setting(en, &pos, &name, &value);)
		if (span_is(name, "enable_long_queue_ids"))
			on = with_setting(c, name, value);
	return on;
}

void qid_configure(const struct conf *c)
{
	const char *cleanup = conf_str(c, "cleanup_service_name");
	bool on = conf_bool(c, "enable_long_queue_ids");
	struct mastercf *m;
	struct err e; /* who can read no master.cf goes by main.cf */

	if (mastercf_load(conf_dir(c), c, &m, &e) == RC_OK) {
		for (size_t i = 0; i < m->n; i++)
			if (m->entry[i].type != ST_INET && span_is(m->entry[i].name, cleanup))
				on = of_entry(c, &m->entry[i]);
		mastercf_free(&m);
	}
	qid_set_long(on);
}
