//! The first process of a task's sandbox: it holds the task's network namespace while the task's containers join it,
//! reaps what they leave behind, and ends at once when it is told to.
//!
//! Not part of the workspace (its `panic = "abort"` would be everybody's): the agent's build script compiles it, and
//! the agent imports it into the container engine. No allocation, no library, one page of stack.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel enters with an aligned stack and no return address; a function expects one.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {main}", "brk #0", main = sym main);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const WAIT4: usize = 260;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const EXIT_GROUP: usize = 94;
}

#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let answer: isize;
    unsafe {
        asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let answer: isize;
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b, in("x2") c, in("x3") d,
            options(nostack));
    }
    answer
}

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
/// Bytes of the kernel's signal set.
const SET: usize = 8;

extern "C" fn main() -> ! {
    let set: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);
    let at = &raw const set as usize;
    // Blocked signals wait, even those that process 1 would otherwise never get.
    unsafe { syscall(number::RT_SIGPROCMASK, SIG_BLOCK, at, 0, SET) };
    loop {
        match unsafe { syscall(number::RT_SIGTIMEDWAIT, at, 0, 0, SET) } {
            SIGINT | SIGTERM => unsafe { _ = syscall(number::EXIT_GROUP, 0, 0, 0, 0) },
            // One signal may stand for several children.
            SIGCHLD => while unsafe { syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0) } > 0 {},
            // Stopped and continued, or traced.
            _ => {}
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
