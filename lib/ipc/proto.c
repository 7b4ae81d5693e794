/* ipc/proto.c - the table of every message: field kinds and bounds, and which types exist. */
#include "ipc/proto.h"

#define QID_BYTES      23
#define DSN_MAX	       16
#define NAME_MAX_BYTES 128
#define TEXT_MAX       1024
#define ADDR_MAX       1024
#define TABLE_MAX      2048
#define KEY_MAX	       4096
#define VALUE_MAX      102400 /* an expansion of a table, line_length_limit * 50 */
#define CONTENT_MAX    (96 * 1024)
#define ENVELOPE_MAX   (128 * 1024)
#define SLOTS_MAX      4096
#define ADDRS_MAX      2000
#define EXPANDED_MAX   10000
#define DELIVER_MAX    1000
#define BOUNCE_MAX     1000
#define EXTENTS_MAX    1000
#define PATH_BYTES     1023
#define ARG_MAX_BYTES  8192
#define ARGS_MAX       2000

static const struct field addr_item_fields[] = {
	FIELD_SPAN(struct addr_item, addr, ADDR_MAX),
	FIELD_END,
};
static const struct field extent_item_fields[] = {
	FIELD(F_U64, struct extent_item, off),
	FIELD(F_U64, struct extent_item, len),
	FIELD_END,
};
static const struct field cleanup_submit_fields[] = {
	FIELD_SPAN(struct cleanup_submit, envelope, ENVELOPE_MAX),
	FIELD_SPAN(struct cleanup_submit, content, CONTENT_MAX),
	FIELD(F_BOOL, struct cleanup_submit, file),
	FIELD(F_U64, struct cleanup_submit, content_bytes),
	FIELD_END,
};
static const struct field cleanup_submit_reply_fields[] = {
	FIELD(F_U16, struct cleanup_submit_reply, code),
	FIELD_SPAN(struct cleanup_submit_reply, dsn, DSN_MAX),
	FIELD_SPAN(struct cleanup_submit_reply, text, TEXT_MAX),
	FIELD_SPAN(struct cleanup_submit_reply, qid, QID_BYTES),
	FIELD_END,
};
static const struct field cleanup_file_fields[] = {
	FIELD_SPAN(struct cleanup_file, qid, QID_BYTES),
	FIELD_END,
};
static const struct field cleanup_file_reply_fields[] = {
	FIELD(F_U16, struct cleanup_file_reply, code),
	FIELD_SPAN(struct cleanup_file_reply, dsn, DSN_MAX),
	FIELD_SPAN(struct cleanup_file_reply, text, TEXT_MAX),
	FIELD(F_FD, struct cleanup_file_reply, fd),
	FIELD_END,
};
static const struct field cleanup_abort_fields[] = {
	FIELD_SPAN(struct cleanup_abort, qid, QID_BYTES),
	FIELD_END,
};
static const struct field slot_ref_fields[] = {
	FIELD(F_U32, struct slot_ref, slot),
	FIELD(F_U32, struct slot_ref, generation),
	FIELD_END,
};
static const struct field cleanup_slots_fields[] = {
	FIELD_LIST(struct cleanup_slots, slots, slot_ref_fields, struct slot_ref, SLOTS_MAX),
	FIELD_END,
};
static const struct field qmgr_new_fields[] = {
	FIELD(F_U16, struct qmgr_new, where),
	FIELD(F_U32, struct qmgr_new, slot),
	FIELD(F_U32, struct qmgr_new, generation),
	FIELD_SPAN(struct qmgr_new, qid, QID_BYTES),
	FIELD_END,
};
static const struct field qmgr_control_fields[] = {
	FIELD(F_U16, struct qmgr_control, op),
	FIELD(F_U16, struct qmgr_control, queues),
	FIELD_SPAN(struct qmgr_control, arg, TEXT_MAX),
	FIELD_END,
};
static const struct field qmgr_control_reply_fields[] = {
	FIELD(F_U16, struct qmgr_control_reply, code),
	FIELD(F_U32, struct qmgr_control_reply, count),
	FIELD_SPAN(struct qmgr_control_reply, text, TEXT_MAX),
	FIELD_END,
};
static const struct field qmgr_active_fields[] = {
	FIELD_SPAN(struct qmgr_active, after, QID_BYTES),
	FIELD_END,
};
static const struct field qid_item_fields[] = {
	FIELD_SPAN(struct qid_item, qid, QID_BYTES),
	FIELD_END,
};
static const struct field qmgr_active_reply_fields[] = {
	FIELD_LIST(struct qmgr_active_reply, ids, qid_item_fields, struct qid_item, 1000),
	FIELD_END,
};
static const struct field router_rewrite_fields[] = {
	FIELD(F_BOOL, struct router_rewrite, local),
	FIELD(F_U16, struct router_rewrite, role),
	FIELD_LIST(struct router_rewrite, addrs, addr_item_fields, struct addr_item, ADDRS_MAX),
	FIELD_END,
};
static const struct field router_rewrite_reply_fields[] = {
	FIELD(F_U16, struct router_rewrite_reply, code),
	FIELD_SPAN(struct router_rewrite_reply, text, TEXT_MAX),
	FIELD_LIST(struct router_rewrite_reply, addrs, addr_item_fields, struct addr_item, ADDRS_MAX),
	FIELD_END,
};
static const struct field router_resolve_fields[] = {
	FIELD_SPAN(struct router_resolve, sender, ADDR_MAX),
	FIELD_SPAN(struct router_resolve, addr, ADDR_MAX),
	FIELD(F_BOOL, struct router_resolve, probe),
	FIELD_END,
};
static const struct field router_resolve_reply_fields[] = {
	FIELD(F_U16, struct router_resolve_reply, code),
	FIELD_SPAN(struct router_resolve_reply, dsn, DSN_MAX),
	FIELD_SPAN(struct router_resolve_reply, text, TEXT_MAX),
	FIELD(F_U16, struct router_resolve_reply, class),
	FIELD_SPAN(struct router_resolve_reply, transport, NAME_MAX_BYTES),
	FIELD_SPAN(struct router_resolve_reply, nexthop, ADDR_MAX),
	FIELD_SPAN(struct router_resolve_reply, rcpt, ADDR_MAX),
	FIELD_END,
};
static const struct field router_validate_fields[] = {
	FIELD_SPAN(struct router_validate, sender, ADDR_MAX),
	FIELD_SPAN(struct router_validate, addr, ADDR_MAX),
	FIELD(F_BOOL, struct router_validate, skip_known),
	FIELD_END,
};
static const struct field router_validate_reply_fields[] = {
	FIELD(F_U16, struct router_validate_reply, code),
	FIELD_SPAN(struct router_validate_reply, dsn, DSN_MAX),
	FIELD_SPAN(struct router_validate_reply, text, TEXT_MAX),
	FIELD(F_U16, struct router_validate_reply, class),
	FIELD(F_BOOL, struct router_validate_reply, authorized),
	FIELD(F_BOOL, struct router_validate_reply, routed),
	FIELD_SPAN(struct router_validate_reply, rcpt, ADDR_MAX),
	FIELD_SPAN(struct router_validate_reply, transport, NAME_MAX_BYTES),
	FIELD_SPAN(struct router_validate_reply, nexthop, ADDR_MAX),
	FIELD_END,
};
static const struct field router_expand_fields[] = {
	FIELD_SPAN(struct router_expand, sender, ADDR_MAX),
	FIELD(F_BOOL, struct router_expand, no_mappings),
	FIELD(F_BOOL, struct router_expand, local),
	FIELD_LIST(struct router_expand, rcpts, addr_item_fields, struct addr_item, ADDRS_MAX),
	FIELD(F_U32, struct router_expand, skip),
	FIELD(F_U32, struct router_expand, sum),
	FIELD_END,
};
static const struct field expanded_item_fields[] = {
	FIELD_SPAN(struct expanded_item, addr, ADDR_MAX),
	FIELD(F_U32, struct expanded_item, from),
	FIELD(F_BOOL, struct expanded_item, alias),
	FIELD_END,
};
static const struct field router_expand_reply_fields[] = {
	FIELD(F_U16, struct router_expand_reply, code),
	FIELD_SPAN(struct router_expand_reply, text, TEXT_MAX),
	FIELD_SPAN(struct router_expand_reply, sender, ADDR_MAX),
	FIELD_LIST(struct router_expand_reply, rcpts, expanded_item_fields, struct expanded_item,
		   EXPANDED_MAX),
	FIELD(F_U32, struct router_expand_reply, done),
	FIELD(F_U32, struct router_expand_reply, skip),
	FIELD(F_U32, struct router_expand_reply, sum),
	FIELD_END,
};
static const struct field deliver_rcpt_fields[] = {
	FIELD(F_U32, struct deliver_rcpt, index),	 FIELD_SPAN(struct deliver_rcpt, addr, ADDR_MAX),
	FIELD_SPAN(struct deliver_rcpt, orig, ADDR_MAX), FIELD_SPAN(struct deliver_rcpt, orcpt, ADDR_MAX),
	FIELD(F_U16, struct deliver_rcpt, notify),	 FIELD_END,
};
static const struct field deliver_fields[] = {
	FIELD_SPAN(struct deliver, service, NAME_MAX_BYTES),
	FIELD_SPAN(struct deliver, nexthop, ADDR_MAX),
	FIELD_SPAN(struct deliver, envelope, ENVELOPE_MAX),
	FIELD_LIST(struct deliver, rcpts, deliver_rcpt_fields, struct deliver_rcpt, DELIVER_MAX),
	FIELD_SPAN(struct deliver, content, CONTENT_MAX),
	FIELD(F_FD, struct deliver, fd),
	FIELD_LIST(struct deliver, extents, extent_item_fields, struct extent_item, EXTENTS_MAX),
	FIELD(F_U16, struct deliver, flags),
	FIELD(F_I64, struct deliver, active_us),
	FIELD_END,
};
static const struct field deliver_result_fields[] = {
	FIELD(F_U32, struct deliver_result, index),
	FIELD(F_U16, struct deliver_result, status),
	FIELD_SPAN(struct deliver_result, dsn, DSN_MAX),
	FIELD_SPAN(struct deliver_result, reason, TEXT_MAX),
	FIELD_SPAN(struct deliver_result, diag_type, 64),
	FIELD_SPAN(struct deliver_result, diag_text, TEXT_MAX),
	FIELD_SPAN(struct deliver_result, remote_mta, TEXT_MAX),
	FIELD_SPAN(struct deliver_result, relay, TEXT_MAX),
	FIELD(F_U16, struct deliver_result, expansion),
	FIELD_END,
};
static const struct field deliver_reply_fields[] = {
	FIELD_LIST(struct deliver_reply, results, deliver_result_fields, struct deliver_result, DELIVER_MAX),
	FIELD(F_BOOL, struct deliver_reply, destination_dead),
	FIELD_SPAN(struct deliver_reply, dead_dsn, TEXT_MAX),
	FIELD_SPAN(struct deliver_reply, dead_reason, TEXT_MAX),
	FIELD_END,
};
static const struct field bounce_rcpt_fields[] = {
	FIELD_SPAN(struct bounce_rcpt, addr, ADDR_MAX),
	FIELD_SPAN(struct bounce_rcpt, orig, ADDR_MAX),
	FIELD_SPAN(struct bounce_rcpt, orcpt, ADDR_MAX),
	FIELD(F_U16, struct bounce_rcpt, notify),
	FIELD(F_U16, struct bounce_rcpt, status),
	FIELD_SPAN(struct bounce_rcpt, dsn, DSN_MAX),
	FIELD_SPAN(struct bounce_rcpt, reason, TEXT_MAX),
	FIELD_SPAN(struct bounce_rcpt, diag_type, 64),
	FIELD_SPAN(struct bounce_rcpt, diag_text, TEXT_MAX),
	FIELD_SPAN(struct bounce_rcpt, remote_mta, TEXT_MAX),
	FIELD_END,
};
static const struct field bounce_send_fields[] = {
	FIELD(F_U16, struct bounce_send, kind),
	FIELD_SPAN(struct bounce_send, envelope, ENVELOPE_MAX),
	FIELD_LIST(struct bounce_send, rcpts, bounce_rcpt_fields, struct bounce_rcpt, BOUNCE_MAX),
	FIELD_SPAN(struct bounce_send, content, CONTENT_MAX),
	FIELD(F_BOOL, struct bounce_send, content_cut),
	FIELD(F_FD, struct bounce_send, fd),
	FIELD_LIST(struct bounce_send, extents, extent_item_fields, struct extent_item, EXTENTS_MAX),
	FIELD(F_I64, struct bounce_send, retry_until_us),
	FIELD_END,
};
static const struct field bounce_send_reply_fields[] = {
	FIELD(F_U16, struct bounce_send_reply, code),
	FIELD_SPAN(struct bounce_send_reply, text, TEXT_MAX),
	FIELD_END,
};
static const struct field map_lookup_fields[] = {
	FIELD_SPAN(struct map_lookup, table, TABLE_MAX),
	FIELD_SPAN(struct map_lookup, key, KEY_MAX),
	FIELD(F_U32, struct map_lookup, flags),
	FIELD_END,
};
static const struct field map_lookup_reply_fields[] = {
	FIELD(F_U16, struct map_lookup_reply, status),
	FIELD_SPAN(struct map_lookup_reply, value, VALUE_MAX),
	FIELD_END,
};
static const struct field map_update_fields[] = {
	FIELD_SPAN(struct map_update, table, TABLE_MAX),
	FIELD_SPAN(struct map_update, key, KEY_MAX),
	FIELD_SPAN(struct map_update, value, VALUE_MAX),
	FIELD(F_BOOL, struct map_update, del),
	FIELD_END,
};
static const struct field map_walk_fields[] = {
	FIELD_SPAN(struct map_walk, table, TABLE_MAX),
	FIELD(F_U32, struct map_walk, skip),
	FIELD_END,
};
static const struct field map_pair_fields[] = {
	FIELD_SPAN(struct map_pair, key, KEY_MAX),
	FIELD_SPAN(struct map_pair, value, VALUE_MAX),
	FIELD_END,
};
static const struct field map_walk_reply_fields[] = {
	FIELD(F_U16, struct map_walk_reply, status),
	FIELD_LIST(struct map_walk_reply, pairs, map_pair_fields, struct map_pair, 1000),
	FIELD_END,
};
static const struct field tls_cert_fields[] = {
	FIELD_SPAN(struct tls_cert, chain, 300),
	FIELD(F_U64, struct tls_cert, have),
	FIELD_END,
};
static const struct field tls_cert_reply_fields[] = {
	FIELD(F_U16, struct tls_cert_reply, code),
	FIELD(F_U64, struct tls_cert_reply, generation),
	FIELD_SPAN(struct tls_cert_reply, pem, CONTENT_MAX),
	FIELD_SPAN(struct tls_cert_reply, text, TEXT_MAX),
	FIELD_END,
};
static const struct field tls_sign_fields[] = {
	FIELD(F_U64, struct tls_sign, generation),
	FIELD(F_U16, struct tls_sign, op),
	FIELD(F_U16, struct tls_sign, padding),
	FIELD_SPAN(struct tls_sign, data, 8192),
	FIELD_END,
};
static const struct field tls_sign_reply_fields[] = {
	FIELD(F_U16, struct tls_sign_reply, code),
	FIELD_SPAN(struct tls_sign_reply, data, 8192),
	FIELD_END,
};
static const struct field tls_ticket_keys_fields[] = {
	FIELD_SPAN(struct tls_ticket_keys, service, NAME_MAX_BYTES),
	FIELD_END,
};
static const struct field tls_ticket_keys_reply_fields[] = {
	FIELD_SPAN(struct tls_ticket_keys_reply, current, 80),
	FIELD_SPAN(struct tls_ticket_keys_reply, previous, 80),
	FIELD(F_I64, struct tls_ticket_keys_reply, valid_s),
	FIELD_END,
};
static const struct field tls_session_fields[] = {
	FIELD(F_U16, struct tls_session, op),
	FIELD_SPAN(struct tls_session, key, NAME_MAX_BYTES),
	FIELD_SPAN(struct tls_session, session, TLS_SESSION_BYTES_MAX),
	FIELD(F_I64, struct tls_session, life_s),
	FIELD_END,
};
static const struct field tls_session_reply_fields[] = {
	FIELD_SPAN(struct tls_session_reply, session, TLS_SESSION_BYTES_MAX),
	FIELD_END,
};
static const struct field dns_query_fields[] = {
	FIELD_SPAN(struct dns_query, name, TEXT_MAX),
	FIELD(F_U16, struct dns_query, qtype),
	FIELD(F_BOOL, struct dns_query, hosts),
	FIELD(F_BOOL, struct dns_query, hosts_first),
	FIELD_END,
};
static const struct field dns_query_reply_fields[] = {
	FIELD(F_U16, struct dns_query_reply, status),
	FIELD(F_BOOL, struct dns_query_reply, secure),
	FIELD(F_U32, struct dns_query_reply, ttl),
	FIELD_SPAN(struct dns_query_reply, message, 65535),
	FIELD_SPAN(struct dns_query_reply, text, TEXT_MAX),
	FIELD_END,
};
static const struct field pickup_submit_fields[] = {
	FIELD_SPAN(struct pickup_submit, envelope, ENVELOPE_MAX),
	FIELD(F_BOOL, struct pickup_submit, default_sender),
	FIELD_SPAN(struct pickup_submit, content, CONTENT_MAX),
	FIELD(F_FD, struct pickup_submit, fd),
	FIELD_END,
};
static const struct field pickup_submit_reply_fields[] = {
	FIELD(F_U16, struct pickup_submit_reply, code),
	FIELD_SPAN(struct pickup_submit_reply, dsn, DSN_MAX),
	FIELD_SPAN(struct pickup_submit_reply, text, TEXT_MAX),
	FIELD_SPAN(struct pickup_submit_reply, qid, QID_BYTES),
	FIELD_END,
};
static const struct field anvil_event_fields[] = {
	FIELD_SPAN(struct anvil_event, service, NAME_MAX_BYTES),
	FIELD_SPAN(struct anvil_event, client, ADDR_MAX),
	FIELD(F_U16, struct anvil_event, kind),
	FIELD_END,
};
static const struct field anvil_reply_fields[] = {
	FIELD(F_U32, struct anvil_reply, count),
	FIELD(F_U32, struct anvil_reply, rate),
	FIELD_END,
};
static const struct field verify_query_fields[] = {
	FIELD_SPAN(struct verify_query, addr, ADDR_MAX),
	FIELD_END,
};
static const struct field verify_reply_fields[] = {
	FIELD(F_U16, struct verify_reply, status),
	FIELD_SPAN(struct verify_reply, text, TEXT_MAX),
	FIELD_END,
};
static const struct field verify_result_fields[] = {
	FIELD_SPAN(struct verify_result, addr, ADDR_MAX),
	FIELD(F_U16, struct verify_result, status),
	FIELD_SPAN(struct verify_result, text, TEXT_MAX),
	FIELD_END,
};
static const struct field flush_query_fields[] = {
	FIELD(F_U16, struct flush_query, op),
	FIELD_SPAN(struct flush_query, site, ADDR_MAX),
	FIELD_SPAN(struct flush_query, qid, QID_BYTES),
	FIELD_END,
};
static const struct field flush_reply_fields[] = {
	FIELD(F_U16, struct flush_reply, status),
	FIELD_END,
};

static const struct field text_item_fields[] = {
	FIELD_SPAN(struct text_item, text, ARG_MAX_BYTES),
	FIELD_END,
};
static const struct field user_store_fields[] = {
	FIELD(F_BOOL, struct user_store, mbox),
	FIELD(F_BOOL, struct user_store, owned),
	FIELD_SPAN(struct user_store, path, PATH_BYTES),
	FIELD_SPAN(struct user_store, qid, QID_BYTES),
	FIELD_SPAN(struct user_store, recipient, ADDR_MAX),
	FIELD_SPAN(struct user_store, sender, ADDR_MAX),
	FIELD_SPAN(struct user_store, prefix, KEY_MAX),
	FIELD_SPAN(struct user_store, content, CONTENT_MAX),
	FIELD(F_FD, struct user_store, fd),
	FIELD_LIST(struct user_store, extents, extent_item_fields, struct extent_item, EXTENTS_MAX),
	FIELD(F_I64, struct user_store, arrival_us),
	FIELD(F_U64, struct user_store, max_bytes),
	FIELD(F_U16, struct user_store, lock),
	FIELD(F_U32, struct user_store, lock_attempts),
	FIELD(F_U32, struct user_store, lock_delay_ms),
	FIELD(F_I64, struct user_store, lock_stale_s),
	FIELD_END,
};
static const struct field user_store_reply_fields[] = {
	FIELD(F_U16, struct user_store_reply, rc),	     FIELD(F_U32, struct user_store_reply, sys),
	FIELD_SPAN(struct user_store_reply, text, TEXT_MAX), FIELD(F_BOOL, struct user_store_reply, repeated),
	FIELD(F_U64, struct user_store_reply, bytes),	     FIELD_END,
};
static const struct field user_read_fields[] = {
	FIELD_SPAN(struct user_read, path, PATH_BYTES),
	FIELD(F_U64, struct user_read, off),
	FIELD(F_U32, struct user_read, max_bytes),
	FIELD_END,
};
static const struct field user_read_reply_fields[] = {
	FIELD(F_U16, struct user_read_reply, rc),
	FIELD(F_U32, struct user_read_reply, sys),
	FIELD_SPAN(struct user_read_reply, text, TEXT_MAX),
	FIELD(F_U32, struct user_read_reply, uid),
	FIELD(F_U32, struct user_read_reply, mode),
	FIELD(F_U64, struct user_read_reply, size),
	FIELD_SPAN(struct user_read_reply, content, CONTENT_MAX),
	FIELD_END,
};
static const struct field user_run_fields[] = {
	FIELD_LIST(struct user_run, argv, text_item_fields, struct text_item, ARGS_MAX),
	FIELD_LIST(struct user_run, env, text_item_fields, struct text_item, ARGS_MAX),
	FIELD_SPAN(struct user_run, cwd, PATH_BYTES),
	FIELD(F_I64, struct user_run, time_limit_s),
	FIELD(F_U16, struct user_run, flags),
	FIELD(F_U64, struct user_run, file_limit),
	FIELD_SPAN(struct user_run, head, KEY_MAX),
	FIELD_SPAN(struct user_run, eol, 16),
	FIELD_SPAN(struct user_run, content, CONTENT_MAX),
	FIELD(F_FD, struct user_run, fd),
	FIELD_LIST(struct user_run, extents, extent_item_fields, struct extent_item, EXTENTS_MAX),
	FIELD_END,
};
static const struct field user_run_reply_fields[] = {
	FIELD(F_U16, struct user_run_reply, rc),
	FIELD(F_U32, struct user_run_reply, sys),
	FIELD_SPAN(struct user_run_reply, text, TEXT_MAX),
	FIELD(F_BOOL, struct user_run_reply, timed_out),
	FIELD(F_U16, struct user_run_reply, exit_status),
	FIELD(F_U16, struct user_run_reply, signal),
	FIELD_SPAN(struct user_run_reply, output, KEY_MAX),
	FIELD_END,
};

#define WITH_REPLY(number, name, req, rep)                                                                   \
	{                                                                                                    \
		number, name, req##_fields, rep##_fields, sizeof(struct req), sizeof(struct rep)             \
	}
#define ONE_WAY(number, name, req)                                                                           \
	{                                                                                                    \
		number, name, req##_fields, NULL, sizeof(struct req), 0                                      \
	}

const struct ipc_type ipc_types[] = {
	WITH_REPLY(IPC_CLEANUP_SUBMIT, "cleanup_submit", cleanup_submit, cleanup_submit_reply),
	WITH_REPLY(IPC_CLEANUP_FILE, "cleanup_file", cleanup_file, cleanup_file_reply),
	ONE_WAY(IPC_CLEANUP_ABORT, "cleanup_abort", cleanup_abort),
	ONE_WAY(IPC_CLEANUP_SLOTS, "cleanup_slots", cleanup_slots),
	ONE_WAY(IPC_QMGR_NEW, "qmgr_new", qmgr_new),
	WITH_REPLY(IPC_QMGR_CONTROL, "qmgr_control", qmgr_control, qmgr_control_reply),
	WITH_REPLY(IPC_QMGR_ACTIVE, "qmgr_active", qmgr_active, qmgr_active_reply),
	WITH_REPLY(IPC_ROUTER_REWRITE, "router_rewrite", router_rewrite, router_rewrite_reply),
	WITH_REPLY(IPC_ROUTER_RESOLVE, "router_resolve", router_resolve, router_resolve_reply),
	WITH_REPLY(IPC_ROUTER_VALIDATE, "router_validate", router_validate, router_validate_reply),
	WITH_REPLY(IPC_ROUTER_EXPAND, "router_expand", router_expand, router_expand_reply),
	WITH_REPLY(IPC_DELIVER, "deliver", deliver, deliver_reply),
	WITH_REPLY(IPC_BOUNCE_SEND, "bounce_send", bounce_send, bounce_send_reply),
	WITH_REPLY(IPC_MAP_LOOKUP, "map_lookup", map_lookup, map_lookup_reply),
	WITH_REPLY(IPC_MAP_UPDATE, "map_update", map_update, map_lookup_reply),
	WITH_REPLY(IPC_MAP_WALK, "map_walk", map_walk, map_walk_reply),
	WITH_REPLY(IPC_TLS_CERT, "tls_cert", tls_cert, tls_cert_reply),
	WITH_REPLY(IPC_TLS_SIGN, "tls_sign", tls_sign, tls_sign_reply),
	WITH_REPLY(IPC_TLS_TICKET_KEYS, "tls_ticket_keys", tls_ticket_keys, tls_ticket_keys_reply),
	WITH_REPLY(IPC_TLS_SESSION, "tls_session", tls_session, tls_session_reply),
	WITH_REPLY(IPC_DNS_QUERY, "dns_query", dns_query, dns_query_reply),
	WITH_REPLY(IPC_PICKUP_SUBMIT, "pickup_submit", pickup_submit, pickup_submit_reply),
	WITH_REPLY(IPC_ANVIL, "anvil", anvil_event, anvil_reply),
	WITH_REPLY(IPC_VERIFY, "verify", verify_query, verify_reply),
	WITH_REPLY(IPC_FLUSH, "flush", flush_query, flush_reply),
	ONE_WAY(IPC_VERIFY_RESULT, "verify_result", verify_result),
	WITH_REPLY(IPC_USER_STORE, "user_store", user_store, user_store_reply),
	WITH_REPLY(IPC_USER_READ, "user_read", user_read, user_read_reply),
	WITH_REPLY(IPC_USER_RUN, "user_run", user_run, user_run_reply),
};
const size_t ipc_types_count = ARRAY_LEN(ipc_types);

const struct ipc_type *ipc_type_find(uint16_t type)
{
	for (size_t i = 0; i < ARRAY_LEN(ipc_types); i++)
		if (ipc_types[i].type == type)
			return &ipc_types[i];
	return NULL;
}
