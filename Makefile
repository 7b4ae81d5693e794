# Postern: one build that names every program, its sources and its libraries.
#
#   make            build everything under build/ (programs: build/sbin, build/bin, modules: build/modules)
#   make try        build, start a private instance under build/try, do the main job and show it
#   make check      all tests; SAN=1 with ASan and UBSan
#   make help       the other targets

.DEFAULT_GOAL := all
PREFIX     ?= /usr
SYSCONFDIR ?= /etc
DESTDIR    ?=
CC         ?= gcc
VERSION    := 0.1.0

SAN  ?= 0
FUZZ ?= 0
ifeq ($(FUZZ),1)
  B := build/fuzz
  CC := clang
  VARIANT := -O1 -gline-tables-only -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -DPOSTERN_FUZZ
  VARIANT_LD := -fsanitize=address,undefined
else ifeq ($(SAN),1)
  B := build/san
  VARIANT := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DPOSTERN_SAN
  VARIANT_LD := -fsanitize=address,undefined
else
  B := build
  VARIANT := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fcf-protection
  VARIANT_LD := -Wl,-z,relro,-z,now
endif

WARN := -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wundef \
	-Wpointer-arith -Wcast-qual -Wno-sign-conversion
CPPFLAGS += -D_GNU_SOURCE -Ilib -I$(B)/gen -DPOSTERN_VERSION='"$(VERSION)"' -DPOSTERN_PREFIX='"$(PREFIX)"' \
	-DPOSTERN_SYSCONFDIR='"$(SYSCONFDIR)"'
CFLAGS   += -std=c17 -fPIE $(WARN) $(VARIANT) -fno-common
LDFLAGS  += -pie $(VARIANT_LD) -rdynamic
LIBS     := -lssl -lcrypto -lresolv -lseccomp -lpcre2-8 -lidn2 -lcrypt -lpthread -ldl

# ---- what is built ------------------------------------------------------------------------------------------------
# lib: all of it goes into one archive; lib/map/mod_*.c are modules that `lookup`, `auth` and the commands load.
LIB_SRC := $(filter-out lib/map/mod_%.c,$(wildcard lib/*/*.c))
MOD_SRC := $(wildcard lib/map/mod_*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(B)/o/%.o)
LIB_A   := $(B)/libpostern.a
MODULES := $(MOD_SRC:lib/map/mod_%.c=$(B)/modules/postern-%.so)

# Daemons: program name, then its sources. One folder is one process; small services of a family share a folder.
DAEMONS :=
define daemon
DAEMONS += $(1)
$(B)/sbin/$(1): $(patsubst %.c,$(B)/o/%.o,$(2)) $$(LIB_A)
$(patsubst %.c,$(B)/o/%.o,$(2)): CPPFLAGS += -I$$(dir $$<)
$(B)/canary/sbin/$(1): $(patsubst %.c,$(B)/o/%.o,$(2)) $(B)/o/t/canary/canary.o $$(LIB_A)
endef
one = $(filter-out $(wildcard $(1)/main_*.c),$(wildcard $(1)/*.c))
$(foreach d,anvil master postlogd smtpd cleanup pickup qmgr smtp auth tlsmgr resolver pop3d imapd,\
	$(if $(wildcard $(d)/*.c),$(eval $(call daemon,$(d),$(wildcard $(d)/*.c)))))
# Families: FOLDER/main_PROGRAM.c holds main(), the other files are shared.
$(foreach d,bounce local lookup router,$(foreach m,$(wildcard $(d)/main_*.c),\
	$(eval $(call daemon,$(patsubst $(d)/main_%.c,%,$(m)),$(m) $(call one,$(d))))))

# Commands: cmd/NAME/*.c, each with what all of them answer (cmd/common.c: --help, --version).
COMMANDS :=
define command
COMMANDS += $(1)
$(B)/bin/$(1): $(patsubst %.c,$(B)/o/%.o,$(wildcard cmd/$(1)/*.c)) $(B)/o/cmd/common.o $$(LIB_A)
endef
$(foreach c,$(patsubst cmd/%/,%,$(wildcard cmd/*/)),$(eval $(call command,$(c))))

PROGRAMS := $(sort $(DAEMONS:%=$(B)/sbin/%)) $(sort $(COMMANDS:%=$(B)/bin/%))

# Programs that are another one under a second name.
ALIASES := $(if $(wildcard smtp/*.c),$(B)/sbin/lmtp) $(if $(wildcard smtpd/*.c),$(B)/sbin/lmtpd)
ALIASES += $(addprefix $(B)/bin/,mailq newaliases rmail postfix qmqp-source qmqp-sink)
$(B)/bin/mailq $(B)/bin/newaliases $(B)/bin/rmail: $(B)/bin/sendmail
	@ln -sf sendmail $@
$(B)/bin/postfix: $(B)/bin/postern
	@ln -sf postern $@
$(B)/bin/qmqp-%: $(B)/bin/smtp-%
	@ln -sf smtp-$* $@
$(B)/sbin/lmtp: $(B)/sbin/smtp
	@ln -sf smtp $@
$(B)/sbin/lmtpd: $(B)/sbin/smtpd
	@ln -sf smtpd $@

# Libraries beyond the common ones.
$(B)/sbin/auth $(B)/canary/sbin/auth: LIBS += -lsasl2 -lpam -ldb-5.3
$(B)/sbin/smtp $(B)/canary/sbin/smtp: LIBS += -lsasl2
$(B)/modules/postern-db.so: MODLIBS := -ldb-5.3
$(B)/modules/postern-lmdb.so: MODLIBS := -llmdb
$(B)/modules/postern-mysql.so: MODLIBS := -lmariadb
$(B)/modules/postern-mysql.so: MODFLAGS := -isystem /usr/include/mariadb
$(B)/modules/postern-pgsql.so: MODLIBS := -lpq
$(B)/modules/postern-pgsql.so: MODFLAGS := -isystem /usr/include/postgresql
$(B)/modules/postern-sqlite.so: MODLIBS := -lsqlite3
$(B)/modules/postern-ldap.so: MODLIBS := -lldap -llber -lsasl2
$(B)/modules/postern-cdb.so: MODLIBS := -lcdb

UNIT_SRC := $(wildcard t/unit/*.c)
UNIT     := $(UNIT_SRC:t/unit/%.c=$(B)/unit/%)
FUZZ_SRC := $(wildcard t/fuzz/*.c)
FUZZERS  := $(FUZZ_SRC:t/fuzz/%.c=build/fuzz/bin/%)

.PHONY: all try try-stop check unit bench fuzz lint crash install uninstall clean help packages format
.DELETE_ON_ERROR:
.SECONDARY:
all: $(PROGRAMS) $(ALIASES) $(MODULES)

$(LIB_A): $(LIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $^
	@echo "  AR   $@"
# Asked once, so that what is missing is named before the compiler stumbles on it.
build/packages: conf/packages.build
	@t/tool/packages --check build
	@mkdir -p build
	@touch $@
$(B)/o/%.o: %.c | build/packages
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(PROGRAMS):
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB_A) $(LIBS)
$(B)/modules/postern-%.so: lib/map/mod_%.c
	@mkdir -p $(@D) $(B)/o/lib/map
	@echo "  MOD  $@"
	@$(CC) $(CPPFLAGS) $(MODFLAGS) $(filter-out -fPIE,$(CFLAGS)) -fPIC -MMD -MP -MF $(B)/o/lib/map/mod_$*.d -shared $(VARIANT_LD) -o $@ $< $(MODLIBS)

$(B)/unit/%: $(B)/o/t/unit/%.o $(LIB_A)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(LIB_A) -lcmocka $(LIBS)
build/fuzz/bin/db_conf: LIBS += -lldap -llber -lsasl2 # of the module within
build/fuzz/bin/%: build/fuzz/o/t/fuzz/%.o build/fuzz/libpostern.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@clang $(LDFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $< build/fuzz/libpostern.a $(LIBS)

unit: $(UNIT) $(MODULES)
# Daemons that tests put in the place of the real ones: t/system/daemon_NAME.c.
STANDINS := $(patsubst t/system/daemon_%.c,$(B)/t/%,$(wildcard t/system/daemon_*.c))
standins: $(STANDINS)
.PHONY: standins
$(B)/t/%: $(B)/o/t/system/daemon_%.o $(LIB_A)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(LIB_A) $(LIBS)
fuzzers: $(FUZZERS)
.PHONY: fuzzers
# The daemons once more, each of which tries to break out of its sandbox (t/canary): the same objects, with two calls of the frame wrapped.
CANARIES := $(patsubst %,$(B)/canary/sbin/%,$(filter-out master,$(DAEMONS)))
canary: $(CANARIES) $(MODULES)
	@ln -sfn ../modules $(B)/canary/modules
	@ln -sf smtp $(B)/canary/sbin/lmtp
	@ln -sf smtpd $(B)/canary/sbin/lmtpd
.PHONY: canary
$(CANARIES):
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) -Wl,--wrap=accept_start,--wrap=sandbox_enter -o $@ $(filter %.o,$^) $(LIB_A) $(LIBS)

# ---- using it -----------------------------------------------------------------------------------------------------
packages:
	@t/tool/packages build
try:
	@t/tool/packages build check
	@$(MAKE) --no-print-directory -j2 all
	@t/try/try
try-stop:
	@t/try/try-stop
check:
	@t/tool/packages build check
	@t/tool/check SAN=$(SAN)
bench:
	@t/tool/packages build check bench
	@$(MAKE) --no-print-directory -j2 all
	@t/bench/bench
fuzz:
	@t/tool/packages build check
	@$(MAKE) --no-print-directory -j2 FUZZ=1 fuzzers
	@t/fuzz/run 60
crash:
	@t/tool/packages build check
	@$(MAKE) --no-print-directory -j2 all
	@t/crash/run long
lint:
	@t/tool/packages build check lint
	@t/tool/lint
# From lib/conf/params.def: docs/parameters.md and the list in main.cf(5).
docs: $(B)/bin/postconf
	@$(B)/bin/postconf --doc md >docs/parameters.md
	@{ cat man/parts/main.cf.5.head; $(B)/bin/postconf --doc man; cat man/parts/main.cf.5.tail; } >man/main.cf.5
.PHONY: docs
format:
	@clang-format -i $$(git ls-files '*.c' '*.h')
install: all
	@t/tool/install "$(B)" "$(DESTDIR)" "$(PREFIX)" "$(SYSCONFDIR)"
uninstall:
	@t/tool/install --remove "$(DESTDIR)" "$(PREFIX)" "$(SYSCONFDIR)"
clean:
	rm -rf build
help:
	@sed -n '/^[a-z-]*:/s/:.*//p' Makefile | sort -u | tr '\n' ' '; echo

-include $(shell find $(B)/o -name '*.d' 2>/dev/null)

# ---- helpers of the tests -----------------------------------------------------------------------------------------
HELPERS := $(patsubst t/helper/%.c,$(B)/t/%,$(wildcard t/helper/*.c))
.PHONY: helpers
helpers: $(HELPERS) $(B)/t/quick.so
$(B)/t/quick.so: t/preload/quick.c
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) -O1 -fPIC -shared -o $@ $<
$(B)/t/%: $(B)/o/t/helper/%.o $(LIB_A)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(LDFLAGS) -o $@ $< $(LIB_A) $(LIBS)
