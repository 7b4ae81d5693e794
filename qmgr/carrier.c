/* qmgr/carrier.c - transports: their settings, and how many deliveries they make at a time. */
#include "dest_int.h"
#include "conf/mastercf.h"
#include "log/log.h"
#include "service/service.h"

static struct list transports = { &transports, &transports };
static struct table *limits; /* service -> process limit plus one, of those that master.cf names */

struct list *carriers(void)
{
	return &transports;
}

void carriers_prepare(void)
{
	struct mastercf *m;
	struct err e;
	enum rc rc = mastercf_load(conf_dir(service_conf()), service_conf(), &m, &e);

	limits = table_new();
	if (rc != RC_OK) {
		if (rc != RC_NOTFOUND)
			log_warning("%s", e.text);
		return;
	}
	for (size_t i = 0; i < m->n; i++)
		if (m->entry[i].type != ST_INET)
			(void)table_set(limits, m->entry[i].name,
					(void *)(uintptr_t)(m->entry[i].maxproc + 1));
	mastercf_free(&m);
}

static size_t process_limit(const char *service)
{
	uintptr_t limit = (uintptr_t)table_get(limits, span_str(service));

	return limit > 0 ? (size_t)limit - 1 : (size_t)conf_int(service_conf(), "default_process_limit");
}

static void feedback_read(const char *transport, const char *suffix, const char *fallback,
			  struct feedback *out)
{
	const char *s = conf_transport_str(service_conf(), transport, suffix, fallback);

	if (!feedback_parse(span_str(s), out))
		log_warning("%s%s: bad feedback \"%s\", using 1", transport, suffix, s);
}

static void rules_read(struct carrier *t)
{
	const struct conf *c = service_conf();

	t->rules.limit = conf_transport_int(c, t->name, "_destination_concurrency_limit",
					    "default_destination_concurrency_limit");
	t->rules.initial = conf_transport_int(c, t->name, "_initial_destination_concurrency",
					      "initial_destination_concurrency");
	t->rules.cohorts = conf_transport_int(c, t->name, "_destination_concurrency_failed_cohort_limit",
					      "default_destination_concurrency_failed_cohort_limit");
	feedback_read(t->name, "_destination_concurrency_positive_feedback",
		      "default_destination_concurrency_positive_feedback", &t->rules.positive);
	feedback_read(t->name, "_destination_concurrency_negative_feedback",
		      "default_destination_concurrency_negative_feedback", &t->rules.negative);
}

static void slots_read(struct carrier *t)
{
	const struct conf *c = service_conf();

	t->slots = (struct preempt_rules){
		.cost = conf_transport_int(c, t->name, "_delivery_slot_cost", "default_delivery_slot_cost"),
		.loan = conf_transport_int(c, t->name, "_delivery_slot_loan", "default_delivery_slot_loan"),
		.discount = conf_transport_int(c, t->name, "_delivery_slot_discount",
					       "default_delivery_slot_discount"),
		.minimum = conf_transport_int(c, t->name, "_minimum_delivery_slots",
					      "default_minimum_delivery_slots"),
	};
}

static void kick(void *arg)
{
	schedule_kick(arg);
}

static struct carrier *carrier_new(struct span name)
{
	const struct conf *c = service_conf();
	struct carrier *t = xcalloc(1, sizeof(*t));

	if (span_cstr(span_head(name, sizeof(t->name) - 1), t->name, sizeof(t->name)) != RC_OK)
		snprintf(t->name, sizeof(t->name), "%s", conf_str(c, "error_service_name"));
	rules_read(t);
	slots_read(t);
	t->recipient_limit = conf_transport_int(c, t->name, "_destination_recipient_limit",
						"default_destination_recipient_limit");
	t->rate_delay_s =
	    conf_transport_int(c, t->name, "_destination_rate_delay", "default_destination_rate_delay");
	t->own_delay_s =
	    conf_transport_int(c, t->name, "_transport_rate_delay", "default_transport_rate_delay");
	timer_init(&t->again, kick, t);
	t->process_limit = process_limit(t->name);
	t->dests = table_new();
	schedule_init(t);
	list_add_tail(&transports, &t->link);
	return t;
}

struct carrier *carrier_get(struct span name)
{
	LIST_EACH(it, &transports)
	{
		struct carrier *t = LIST_ENTRY(it, struct carrier, link);

		if (span_is(name, t->name))
			return t;
	}
	return carrier_new(name);
}

bool carrier_suspended(const struct carrier *t)
{
	return mono_diff_ms(t->suspended_until, loop_now()) > 0;
}

bool carrier_may_start(const struct carrier *t)
{
	if (t->own_delay_s > 0 && (t->busy > 0 || mono_diff_ms(t->not_before, loop_now()) > 0))
		return false;
	return t->process_limit == 0 || t->busy < t->process_limit;
}

void carrier_pause(struct carrier *t)
{
	if (t->own_delay_s == 0)
		return;
	t->not_before = mono_after(loop_now(), t->own_delay_s * 1000);
	timer_set(&t->again, (deadline_t){ mono_after(t->not_before, 1) });
}
