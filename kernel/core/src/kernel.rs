//! What a Rust program takes from its system, taken from the kernel: memory and the end of a panic.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

unsafe extern "C" {
    fn homa_shim_alloc(bytes: usize, align: usize) -> *mut u8;
    fn homa_shim_realloc(old: *mut u8, bytes: usize, align: usize) -> *mut u8;
    fn homa_shim_free(old: *mut u8);
    fn homa_shim_panic(text: *const u8, bytes: usize);
}

struct KernelMemory;

// SAFETY: the shim's functions are kmalloc, krealloc and kfree, which keep the contract: memory of at
// least the size and alignment asked for, or null.
unsafe impl GlobalAlloc for KernelMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and alignment may be asked for.
        unsafe { homa_shim_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, old: *mut u8, _: Layout) {
        // SAFETY: the caller passes what `alloc` gave.
        unsafe { homa_shim_free(old) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller passes what `alloc` gave.
        unsafe { homa_shim_realloc(old, bytes, layout.align()) }
    }
}

#[global_allocator]
static MEMORY: KernelMemory = KernelMemory;

/// As much of a panic's message as one line of the log should have.
struct Line {
    text: [u8; 192],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, &byte) in self.text[self.length..].iter_mut().zip(text.as_bytes()) {
            *place = if byte == b'\n' { b' ' } else { byte };
            self.length += 1;
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line {
        text: [0; 192],
        length: 0,
    };
    // A line that is full cuts the text, which is no error.
    let _ = write!(line, "{info}");
    leave(&line.text[..line.length])
}

/// The engine asks before it grows, so this is never called; the library wants it to exist.
#[alloc_error_handler]
fn out_of_memory(_: Layout) -> ! {
    leave(b"no memory")
}

#[inline(always)]
fn leave(text: &[u8]) -> ! {
    // SAFETY: the text has its bytes. The shim does not come back: it jumps to the guard, or stops
    // the thread. `ud2` tells the kernel's checker of object files so.
    unsafe {
        homa_shim_panic(text.as_ptr(), text.len());
        core::arch::asm!("ud2", options(noreturn));
    }
}
