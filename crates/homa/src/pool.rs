//! Buffers of messages: taken and given back without asking the allocator, once warm.
//!
//! It decides how large a buffer is made for a message and which idle buffers are kept. It does
//! not decide how many messages there may be: the engine's receive budget and the send budget do.
//!
//! # Design
//!
//! Each message lies in one contiguous buffer, so that an application reads it as one slice. Sizes
//! are rounded up to four classes per power of two: at most a quarter of a buffer is unused, and
//! messages of similar length share buffers. Pages of fixed size, as the kernel module has them,
//! waste less, but the application would have to gather them.

use core::fmt;
use core::ops::Deref;
use std::io::IoSlice;
use std::sync::{Arc, PoisonError};

use homa_net::zeroed;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::waiting::Alarm;

/// The smallest buffer, in bytes.
const SMALLEST: usize = 64;
/// Classes up to 2^30 bytes, the longest message that there can be, four to a doubling.
const CLASS_COUNT: usize = 4 * (30 - 6) + 1;

/// Where a host's buffers come from and go back to.
pub(crate) struct Pool {
    shelves: Mutex<Shelves>,
    /// Bytes of received messages that came back since the engine was last told. Written under the lock
    /// of the shelves, which each message takes anyway; read without.
    given_back: AtomicU64,
    /// Whether messages wait for receive budget, so that bytes given back are urgent. Likewise.
    wanted: AtomicBool,
    alarm: Arc<Alarm>,
}

struct Shelves {
    /// Idle buffers by class.
    idle: Vec<Vec<Box<[u8]>>>,
    /// When a buffer of each class was last asked for, in askings.
    asked: Vec<u64>,
    askings: u64,
    idle_bytes: usize,
    idle_max_bytes: usize,
}

impl Pool {
    /// A pool that keeps at most `idle_max_bytes` in idle buffers and rings `alarm` when the
    /// driver waits for bytes to come back.
    pub(crate) fn new(idle_max_bytes: usize, alarm: Arc<Alarm>) -> Self {
        Self {
            shelves: Mutex::new(Shelves {
                idle: (0..CLASS_COUNT).map(|_| Vec::new()).collect(),
                asked: vec![0; CLASS_COUNT],
                askings: 0,
                idle_bytes: 0,
                idle_max_bytes,
            }),
            given_back: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            alarm,
        }
    }

    /// A buffer for a message of `length` bytes, its content arbitrary; `None` without memory.
    pub(crate) fn take(&self, length: usize) -> Option<Buffer> {
        let class = class_of(length)?;
        let idle = self.lock().take(class);
        let bytes = match idle {
            Some(bytes) => bytes,
            None => zeroed(class_bytes(class))?,
        };
        Some(Buffer { bytes, length })
    }

    /// A buffer that holds a copy of `message`; `None` without memory.
    pub(crate) fn copy(&self, message: &[u8]) -> Option<Buffer> {
        let mut buffer = self.take(message.len())?;
        buffer.bytes_mut().copy_from_slice(message);
        Some(buffer)
    }

    /// A buffer that holds a copy of all of them, one behind the other; `None` without memory.
    pub(crate) fn gather(&self, pieces: &[IoSlice<'_>]) -> Option<Buffer> {
        let mut buffer = self.take(pieces.iter().map(|piece| piece.len()).sum())?;
        let mut rest = buffer.bytes_mut();
        for piece in pieces {
            let (place, behind) = rest.split_at_mut(piece.len());
            place.copy_from_slice(piece);
            rest = behind;
        }
        Some(buffer)
    }

    /// Moves up to `count` idle buffers of `class` to `to`.
    pub(crate) fn fetch(&self, class: usize, count: usize, to: &mut Vec<Box<[u8]>>) {
        self.lock().take_some(class, count, to);
    }

    /// Adds up to `count` new buffers of `class` to `to`: fewer without memory.
    pub(crate) fn make(class: usize, count: usize, to: &mut Vec<Box<[u8]>>) {
        to.extend((0..count).map_while(|_| zeroed(class_bytes(class))));
    }

    /// Takes idle buffers back.
    pub(crate) fn put_all(&self, buffers: impl Iterator<Item = Box<[u8]>>) {
        let mut shelves = self.lock();
        for bytes in buffers {
            drop(shelves.put(bytes));
        }
    }

    /// Takes a buffer back.
    pub(crate) fn put(&self, buffer: Buffer) {
        let surplus = self.lock().put(buffer.bytes);
        // Freeing a large buffer is a system call: not under the lock.
        drop(surplus);
    }

    /// Takes the buffer of a received message back, whose bytes are free for others.
    fn give_back(&self, buffer: Buffer) {
        let length = buffer.len() as u64;
        let mut shelves = self.lock();
        let surplus = shelves.put(buffer.bytes);
        let sum = self.given_back.load(Ordering::Relaxed) + length;
        self.given_back.store(sum, Ordering::Release);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted {
            self.wanted.store(false, Ordering::Relaxed);
        }
        drop(shelves);
        drop(surplus);
        if wanted {
            self.alarm.ring_all();
        }
    }

    /// Whether bytes of received messages came back since the last asking.
    pub(crate) fn has_given_back(&self) -> bool {
        self.given_back.load(Ordering::Acquire) > 0
    }

    /// Bytes of received messages that came back since the last asking.
    pub(crate) fn collect_given_back(&self) -> u64 {
        if !self.has_given_back() {
            return 0;
        }
        let _shelves = self.lock();
        let bytes = self.given_back.load(Ordering::Relaxed);
        self.given_back.store(0, Ordering::Relaxed);
        bytes
    }

    /// Whether the driver wants to be woken as soon as bytes come back. Who sets it looks at the bytes
    /// given back afterwards: what came back before is seen there, what comes later rings.
    pub(crate) fn set_wanted(&self, wanted: bool) {
        if self.wanted.load(Ordering::Relaxed) != wanted {
            let _shelves = self.lock();
            self.wanted.store(wanted, Ordering::Relaxed);
        }
    }

    /// Bytes in idle buffers.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.lock().idle_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        // Nothing in here leaves the shelves half changed in a way that matters.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn take(&mut self, class: usize) -> Option<Box<[u8]>> {
        self.askings += 1;
        self.asked[class] = self.askings;
        // A buffer up to twice as large serves too, so that nearby lengths do not each need their
        // own.
        let larger = (class + 4).min(CLASS_COUNT - 1);
        let bytes = (class..=larger).find_map(|class| self.idle[class].pop())?;
        self.idle_bytes -= bytes.len();
        Some(bytes)
    }

    /// Moves up to `count` buffers of `class` to `to`; if there is none, a larger one.
    fn take_some(&mut self, class: usize, count: usize, to: &mut Vec<Box<[u8]>>) {
        let idle = &mut self.idle[class];
        if idle.is_empty() {
            to.extend(self.take(class));
            return;
        }
        self.askings += 1;
        self.asked[class] = self.askings;
        let rest = idle.len().saturating_sub(count);
        self.idle_bytes -= (idle.len() - rest) * class_bytes(class);
        to.extend(idle.drain(rest..));
    }

    /// Keeps `bytes`, or returns what there is no room for.
    fn put(&mut self, bytes: Box<[u8]>) -> Option<Box<[u8]>> {
        let class = class_of(bytes.len())?;
        if bytes.len() > self.idle_max_bytes {
            return Some(bytes);
        }
        while self.idle_bytes + bytes.len() > self.idle_max_bytes {
            let stale = self.stalest()?;
            if self.asked[stale] >= self.asked[class] {
                return Some(bytes);
            }
            let freed = self.idle[stale].pop()?;
            self.idle_bytes -= freed.len();
        }
        self.idle_bytes += bytes.len();
        self.idle[class].push(bytes);
        None
    }

    /// Of the classes with idle buffers the one that nobody asked for the longest.
    fn stalest(&self) -> Option<usize> {
        let with_idle = (0..CLASS_COUNT).filter(|&class| !self.idle[class].is_empty());
        with_idle.min_by_key(|&class| self.asked[class])
    }
}

/// The smallest class whose buffers hold `length` bytes; `None` past the longest message.
pub(crate) fn class_of(length: usize) -> Option<usize> {
    if length <= SMALLEST {
        return Some(0);
    }
    // The leading bit of the last byte's number says which doubling it is in, the two behind it which
    // quarter of that.
    let last = length - 1;
    let doublings = last.ilog2() as usize - 6;
    let class = 4 * doublings + (last >> (doublings + 4)) - 3;
    (class < CLASS_COUNT).then_some(class)
}

/// Bytes of a buffer of `class`.
fn class_bytes(class: usize) -> usize {
    let base = SMALLEST << (class / 4);
    base + base / 4 * (class % 4)
}

/// Room for one message.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// The first `length` of `bytes`.
    pub(crate) fn of(bytes: Box<[u8]>, length: usize) -> Self {
        debug_assert!(length <= bytes.len(), "a buffer holds its message");
        Self { bytes, length }
    }

    pub(crate) fn into_bytes(self) -> Box<[u8]> {
        self.bytes
    }

    /// The longest message that it could hold.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

/// A received message: a view of the bytes in a buffer of the host's pool.
///
/// It reads as a byte slice. Dropping it gives the buffer back to the pool and its bytes back to
/// the receive budget: while an application holds more bytes of messages than
/// [`Config::receive_budget_bytes`](crate::Config::receive_budget_bytes), senders wait.
///
/// ```
/// fn first_word(message: &homa::Message) -> &[u8] {
///     message.split(|&byte| byte == b' ').next().unwrap_or_default()
/// }
/// ```
pub struct Message {
    /// `None` only while being dropped.
    buffer: Option<Buffer>,
    pool: Arc<Pool>,
}

impl Message {
    pub(crate) fn new(buffer: Buffer, pool: &Arc<Pool>) -> Self {
        Self {
            buffer: Some(buffer),
            pool: Arc::clone(pool),
        }
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], Buffer::bytes)
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give_back(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(idle_max_bytes: usize) -> Arc<Pool> {
        let alarm = Arc::new(Alarm::new().unwrap());
        Arc::new(Pool::new(idle_max_bytes, alarm))
    }

    #[test]
    fn every_length_gets_the_smallest_class_that_holds_it() {
        for class in 1..CLASS_COUNT {
            let (below, bytes) = (class_bytes(class - 1), class_bytes(class));
            assert!(below < bytes);
            assert_eq!(class_of(below + 1), Some(class));
            assert_eq!(class_of(bytes), Some(class));
        }
        assert_eq!(class_of(1), Some(0));
        assert_eq!(class_bytes(CLASS_COUNT - 1), 1 << 30);
        assert_eq!(class_of((1 << 30) + 1), None);
    }

    #[test]
    fn a_buffer_given_back_is_used_again() {
        let pool = pool(1 << 20);
        let first = pool.take(1_000).unwrap();
        let address = first.bytes().as_ptr();
        pool.put(first);
        let second = pool.take(900).unwrap();
        assert_eq!(second.bytes().as_ptr(), address);
        assert_eq!(second.len(), 900);
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn idle_buffers_stay_within_their_bound_and_the_stalest_class_goes_first() {
        let pool = pool(4_096);
        let old = pool.take(2_048).unwrap();
        let new: Vec<_> = (0..4).map(|_| pool.take(1_024).unwrap()).collect();
        pool.put(old);
        assert_eq!(pool.idle_bytes(), 2_048);
        for buffer in new {
            pool.put(buffer);
        }
        assert_eq!(pool.idle_bytes(), 4_096);
        assert!(pool.lock().idle[class_of(2_048).unwrap()].is_empty());
    }

    #[test]
    fn random_sizes_held_for_random_times_waste_no_more_than_the_classes_do() {
        let idle_max = 4 << 20;
        let pool = pool(idle_max);
        let mut seed: u64 = 1;
        let mut random = move |below: usize| {
            // Knuth's MMIX generator; the upper half is random enough.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let mut held: Vec<Buffer> = Vec::new();
        let (mut bytes, mut capacity) = (0, 0);
        for _ in 0..200_000 {
            if held.len() < 500 && random(2) == 0 {
                // As many of each magnitude.
                let magnitude = random(14);
                let length = 1 + random(64 << magnitude);
                let buffer = pool.take(length).unwrap();
                assert!(buffer.capacity() <= 2 * class_bytes(class_of(length).unwrap()));
                (bytes, capacity) = (bytes + buffer.len(), capacity + buffer.capacity());
                held.push(buffer);
            } else if !held.is_empty() {
                let buffer = held.swap_remove(random(held.len()));
                (bytes, capacity) = (bytes - buffer.len(), capacity - buffer.capacity());
                pool.put(buffer);
            }
            assert!(pool.idle_bytes() <= idle_max);
            // A class is a quarter too large at most, and a buffer of up to twice its class serves;
            // the smallest ones may be almost empty.
            let most = bytes * 5 / 2 + held.len() * 2 * SMALLEST;
            assert!(capacity <= most, "{capacity} for {bytes}");
        }
        held.drain(..).for_each(|buffer| pool.put(buffer));
        assert!(pool.idle_bytes() <= idle_max);
        let largest = pool.take(idle_max).unwrap();
        assert_eq!(
            largest.len(),
            idle_max,
            "there is room for what is larger than all before"
        );
    }

    #[test]
    fn a_dropped_message_gives_its_bytes_back_and_wakes_who_wants_them() {
        let pool = pool(1 << 20);
        let message = Message::new(pool.copy(b"hello").unwrap(), &pool);
        assert_eq!(&*message, b"hello");
        pool.set_wanted(true);
        drop(message);
        assert_eq!(pool.collect_given_back(), 5);
        assert_eq!(pool.collect_given_back(), 0);
        assert!(pool.alarm.waiter.drain());
    }
}
