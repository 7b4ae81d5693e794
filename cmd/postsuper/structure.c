/* cmd/postsuper/structure.c - -s, -S and -p: names, places and unfinished files (queue/repair.h). */
#include "postsuper.h"
#include "log/log.h"
#include "queue/repair.h"

static struct {
	uint32_t renamed, moved, purged;
} done;

/* What changes nothing for the message is told on request only. */
static void quiet(const char *what, const char *from, const char *to)
{
	if (verbose > 0)
		log_info("%s %s%s%s", what, from, to != NULL ? " as " : "", to != NULL ? to : "");
}

static void tell(void *arg, enum repaired what, const char *from, const char *to)
{
	(void)arg;
	switch (what) {
	case REPAIR_MOVED:
		quiet("moved file", from, to);
		done.moved++;
		break;
	case REPAIR_RENAMED:
		quiet("renamed file", from, to);
		done.renamed++;
		break;
	case REPAIR_RENUMBERED:
		log_warning("%s: another message has its queue id: it is %s from now on", from, to);
		done.renamed++;
		break;
	case REPAIR_DOUBLE:
		log_warning("%s: removed: the same message is %s", from, to);
		break;
	case REPAIR_PURGED:
		quiet("removed file", from, NULL);
		done.purged++;
		break;
	case REPAIR_BOGUS:
		log_warning("bogus file name: %s", from);
		break;
	case REPAIR_DAMAGED:
	case REPAIR_FAILED:
		log_warning("%s: %s", from, to);
		break;
	}
}

static void total(const char *what, uint32_t n, const char *things)
{
	if (n > 0)
		log_info("%s: %u %s%s", what, n, things, n == 1 ? "" : "s");
}

bool structure(bool names, bool contents, bool temporary)
{
	static const enum queue_where dirs[] = { QW_SLOT,     QW_INCOMING, QW_ACTIVE,
						 QW_DEFERRED, QW_HOLD,	   QW_MAILDROP };
	const struct repair r = { .tell = tell,
				  .structure = names,
				  .contents = contents,
				  .temporary = temporary,
				  .idle = !running };
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (wanted(dirs[i]) && queue_repair(queue, dirs[i], &r, &e) != RC_OK)
			log_warning("%s", e.text);
	total("Renamed to match queue id", done.renamed, "message");
	total("Moved to the right directory", done.moved, "message");
	total("Purged", done.purged, "temporary file");
	return done.renamed + done.moved > 0;
}
