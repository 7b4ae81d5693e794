/* contracts.h - what the analyser cannot see across files, told to clang-tidy alone (t/tool/lint includes it
 * before each source but lib/base/rc.c): err_set() returns the code it is given, err_sys() returns RC_SYS,
 * err_prefix() never returns RC_OK (base/rc.h). */
#include "base/rc.h"

#define err_set(e, code, ...)                                                                                \
	({                                                                                                   \
		enum rc contract_rc_ = (code);                                                               \
		(void)err_set(e, contract_rc_, __VA_ARGS__);                                                 \
		contract_rc_;                                                                                \
	})
#define err_sys(e, ...)                                                                                      \
	({                                                                                                   \
		(void)err_sys(e, __VA_ARGS__);                                                               \
		RC_SYS;                                                                                      \
	})
#define err_prefix(e, ...)                                                                                   \
	({                                                                                                   \
		enum rc contract_rc_ = err_prefix(e, __VA_ARGS__);                                           \
		if (contract_rc_ == RC_OK)                                                                   \
			__builtin_unreachable();                                                             \
		contract_rc_;                                                                                \
	})
