/* qmgr/preempt.c - delivery slots. */
#include "preempt.h"

/* One slot per delivery would let a list wait for ever. */
static int64_t cost_of(const struct preempt_rules *r)
{
	return r->cost < 2 ? 2 : r->cost;
}

int64_t preempt_most(const struct preempt_rules *r, const struct preempt *p)
{
	int64_t most = r->cost > 0 ? (p->left + p->saved) / cost_of(r) : 0;

	return most >= r->minimum && most > 0 ? most : 0;
}

bool preempt_now(const struct preempt_rules *r, const struct preempt *p, int64_t need)
{
	int64_t discount = r->discount > 100 ? 100 : r->discount;

	return p->saved > 0 && 100 * (p->saved / cost_of(r) + r->loan) >= (100 - discount) * need;
}

void preempt_pay(const struct preempt_rules *r, struct preempt *p, int64_t need)
{
	p->saved -= cost_of(r) * need;
}
