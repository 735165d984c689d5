//! Short buffers at hand for whoever has the state, so that a short message costs no second lock.
//!
//! It decides how many lie here. Where they come from and go to is the pool's affair.
//!
//! Buffers of messages that an application drops go to the pool. What is used up here is fetched from
//! there when there is time for it ([`Stock::refill`]), not when the next message has come.

use std::sync::Arc;

use crate::pool::{Buffer, Pool, class_of};

/// Classes of short buffers: those of up to 2,048 bytes.
const CLASSES: usize = 21;
/// Buffers fetched from the pool at once.
const FETCHED: usize = 16;
/// Buffers made at once where the pool has none: while an application has one message, the next may
/// come.
const MADE: usize = 4;
/// Buffers of a class past which `FETCHED` go back to the pool.
const KEPT_MAX: usize = 64;

/// Idle short buffers by class.
pub(crate) struct Stock {
    pool: Arc<Pool>,
    idle: [Vec<Box<[u8]>>; CLASSES],
    /// Of each class one bit: whether its last buffer was taken since the last refill.
    used_up: u32,
}

const _: () = assert!(CLASSES <= u32::BITS as usize);

impl Stock {
    /// An empty one.
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            idle: [const { Vec::new() }; CLASSES],
            used_up: 0,
        }
    }

    /// A buffer for a message of `length` bytes, its content arbitrary; `None` without memory.
    pub(crate) fn take(&mut self, length: usize) -> Option<Buffer> {
        let class = class_of(length)?;
        let Some(idle) = self.idle.get_mut(class) else {
            return self.pool.take(length);
        };
        let bytes = match idle.pop() {
            Some(bytes) => bytes,
            None => self.take_new(class)?,
        };
        if self.idle[class].is_empty() {
            self.used_up |= 1 << class;
        }
        Some(Buffer::of(bytes, length))
    }

    /// A buffer of a class of which none is at hand.
    #[cold]
    fn take_new(&mut self, class: usize) -> Option<Box<[u8]>> {
        let idle = &mut self.idle[class];
        self.pool.fetch(class, FETCHED, idle);
        if idle.is_empty() {
            Pool::make(class, MADE, idle);
        }
        idle.pop()
    }

    /// Fetches buffers in the place of those that were used up, if the pool has some. For a moment at
    /// which nobody waits.
    pub(crate) fn refill(&mut self) {
        while self.used_up != 0 {
            let class = self.used_up.trailing_zeros() as usize;
            self.used_up &= self.used_up - 1;
            let idle = &mut self.idle[class];
            if idle.is_empty() {
                self.pool.fetch(class, FETCHED, idle);
            }
        }
    }

    /// A buffer that holds a copy of `message`; `None` without memory.
    pub(crate) fn copy(&mut self, message: &[u8]) -> Option<Buffer> {
        let mut buffer = self.take(message.len())?;
        buffer.bytes_mut().copy_from_slice(message);
        Some(buffer)
    }

    /// Takes a buffer back.
    pub(crate) fn put(&mut self, buffer: Buffer) {
        let class = class_of(buffer.capacity());
        let Some(idle) = class.and_then(|class| self.idle.get_mut(class)) else {
            return self.pool.put(buffer);
        };
        idle.push(buffer.into_bytes());
        if idle.len() > KEPT_MAX {
            self.pool.put_all(idle.drain(KEPT_MAX - FETCHED..));
        }
    }

    /// Whether messages of this length come from here.
    pub(crate) fn has(length: usize) -> bool {
        class_of(length).is_some_and(|class| class < CLASSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::Alarm;

    #[test]
    fn short_buffers_stay_at_hand_and_too_many_go_back_to_the_pool() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let pool = Arc::new(Pool::new(1 << 20, alarm));
        let mut stock = Stock::new(&pool);
        assert!(Stock::has(2_048) && !Stock::has(2_049));
        let buffers: Vec<_> = (0..200).map(|_| stock.take(100).unwrap()).collect();
        buffers.into_iter().for_each(|buffer| stock.put(buffer));
        let kept = stock.idle.iter().map(Vec::len).sum::<usize>();
        assert!(kept <= KEPT_MAX);
        assert_eq!(pool.idle_bytes(), (200 - kept) * 112);

        let address = stock.copy(&[7; 100]).unwrap();
        assert_eq!(address.bytes(), [7; 100]);
        stock.put(address);
        let long = stock.take(5_000).unwrap();
        let before = pool.idle_bytes();
        stock.put(long);
        assert!(pool.idle_bytes() > before, "long ones lie in the pool");
    }

    #[test]
    fn what_was_used_up_is_fetched_before_the_next_message_comes() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let pool = Arc::new(Pool::new(1 << 20, alarm));
        let mut stock = Stock::new(&pool);
        let first: Vec<_> = (0..MADE).map(|_| stock.take(64).unwrap()).collect();
        stock.refill();
        assert!(stock.idle[0].is_empty(), "the pool has none");
        assert!(stock.take(64).is_some());
        let made = stock.idle[0].len();
        assert_eq!(made, MADE - 1);
        (0..made).for_each(|_| drop(stock.take(64)));
        first.into_iter().for_each(|buffer| pool.put(buffer));
        stock.refill();
        assert_eq!((stock.idle[0].len(), pool.idle_bytes()), (MADE, 0));
    }

    #[test]
    fn an_empty_stock_fetches_many_at_once() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let pool = Arc::new(Pool::new(1 << 20, alarm));
        let buffers: Vec<_> = (0..40).map(|_| pool.take(64).unwrap()).collect();
        buffers.into_iter().for_each(|buffer| pool.put(buffer));
        let mut stock = Stock::new(&pool);
        drop(stock.take(64));
        assert_eq!(pool.idle_bytes(), (40 - FETCHED) * 64);
    }
}
