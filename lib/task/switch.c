/* task/switch.c - changing stacks. The compiler takes context_switch() for an ordinary call, so only what a
 * call must preserve is saved: some registers and the floating point control words. No system call is made
 * (the portable version at the end makes two). User-mode shadow stacks are not supported: they must stay off.
 */
#include "task/sched.h"

#if defined(__x86_64__)
/* Frame, from the stopped stack pointer up: mxcsr and x87 control word, r15 r14 r13 r12 rbx rbp, return
 * address. */
__asm__(".text\n"
	".p2align 4\n"
	".globl context_switch\n"
	".type context_switch, @function\n"
	"context_switch:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	subq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 56\n"
	"	stmxcsr (%rsp)\n"
	"	fnstcw 4(%rsp)\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	ldmxcsr (%rsp)\n"
	"	fldcw 4(%rsp)\n"
	"	addq $8, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	.cfi_adjust_cfa_offset -56\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size context_switch, .-context_switch\n");

void *context_make(void *top, void (*entry)(void))
{
	uint64_t *frame = (uint64_t *)top - 9;
	uint32_t mxcsr;
	uint16_t x87;

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
	memset(frame, 0,
	       9 * sizeof(*frame)); /* after `ret` the stack is 8 below a multiple of 16, as after a call */
	frame[0] = (uint64_t)x87 << 32 | mxcsr;
	frame[7] = (uint64_t)(uintptr_t)entry;
	/* frame[8] stays 0: entry()'s return address, where unwinders stop; it also gives the alignment of a
	 * call. */
	return frame;
}

#elif defined(__aarch64__)
/* Frame: x19 to x30, d8 to d15. */
__asm__(".text\n"
	".p2align 4\n"
	".globl context_switch\n"
	".type context_switch, %function\n"
	"context_switch:\n"
	"	hint #34\n" /* bti c */
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp, #0]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x9, sp\n"
	"	str x9, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp, #0]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size context_switch, .-context_switch\n");

void *context_make(void *top, void (*entry)(void))
{
	uint64_t *frame = (uint64_t *)top - 20;

	memset(frame, 0, 20 * sizeof(*frame));
	frame[11] = (uint64_t)(uintptr_t)entry; /* x30 */
	return frame;
}

#else
#include <ucontext.h>

/* The saved state lies in the frame of the stopped call itself. */
void context_switch(void **save, void *to)
{
	ucontext_t here;

	*save = &here;
	INVARIANT(swapcontext(&here, to) == 0);
}

void *context_make(void *top, void (*entry)(void))
{
	ucontext_t *u = (ucontext_t *)top - 1;

	INVARIANT(getcontext(u) == 0);
	u->uc_stack.ss_sp = (char *)top - STACK_BYTES / 2;
	u->uc_stack.ss_size = STACK_BYTES / 2 - sizeof(*u) - 64;
	u->uc_link = NULL;
	makecontext(u, entry, 0);
	return u;
}
#endif
