//! One TCP connection in tokio that many tasks share, as RPC systems over TCP do.
//!
//! A frame is the number of the client's task and the message. At either end one task writes whatever
//! the others have made ready; another reads, and hands each response to the task that waits for it,
//! each request to a task of its own.

use core::cell::RefCell;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::{LocalSet, spawn_local};

use crate::answer::Answer;
use crate::bench::meter::{Meter, Sample};
use crate::bench::sockets::{tcp_client, tcp_server};
use crate::bench::suite::{Job, Waiting};
use crate::bench::tasks;
use crate::congestion::Congestion;
use crate::runtime;

/// Bytes that one read takes.
const READ_BYTES: usize = 1 << 16;

/// Bytes of the task's number.
const HEADER_BYTES: usize = 4;

/// Starts a server with a task for each request, as asynchronous servers have.
pub(super) fn serve(job: &Job, congestion: Congestion) -> io::Result<Vec<u16>> {
    tcp_server(job, Waiting::Tokio, congestion, |job, stream| {
        LocalSet::new().block_on(&runtime::current_thread()?, async {
            let (reader, writer) = tokio::net::TcpStream::from_std(stream)?.into_split();
            let output = Rc::new(Output::default());
            spawn_local(Rc::clone(&output).write(writer));
            let mut input = Input::new(reader, HEADER_BYTES + job.message_bytes);
            loop {
                let frame_bytes = input.frame_bytes;
                for frame in input.read().await?.chunks(frame_bytes) {
                    let (output, request) = (Rc::clone(&output), frame.to_vec());
                    spawn_local(async move { output.put(&request) });
                }
            }
        })
    })
}

/// A task for each RPC under way.
pub(super) fn measure(job: &Job, meter: Meter, congestion: Congestion) -> io::Result<Sample> {
    let stream = tcp_client(job, Waiting::Tokio, congestion)?;
    LocalSet::new().block_on(&runtime::current_thread()?, async {
        let connection = Connection::share(job, stream)?;
        tasks::run(
            job,
            meter,
            Answer::Echo,
            async move |task, request: &[u8]| connection.call(task, request).await,
        )
        .await
    })
}

/// Frames that are to be written, by whichever task.
#[derive(Default)]
struct Output {
    frames: RefCell<Vec<u8>>,
    has_frames: Notify,
}

impl Output {
    fn put(&self, frame: &[u8]) {
        self.frames.borrow_mut().extend(frame);
        self.has_frames.notify_one();
    }

    async fn write(self: Rc<Self>, mut writer: OwnedWriteHalf) -> io::Result<()> {
        let mut frames = Vec::new();
        loop {
            self.has_frames.notified().await;
            core::mem::swap(&mut frames, &mut *self.frames.borrow_mut());
            writer.write_all(&frames).await?;
            frames.clear();
        }
    }
}

/// What the tasks of a client share.
struct Connection {
    output: Rc<Output>,
    /// Who waits for a response, by the number of the task.
    waiting: RefCell<Vec<Option<oneshot::Sender<Vec<u8>>>>>,
}

impl Connection {
    fn share(job: &Job, stream: TcpStream) -> io::Result<Rc<Self>> {
        let (reader, writer) = tokio::net::TcpStream::from_std(stream)?.into_split();
        let connection = Rc::new(Self {
            output: Rc::default(),
            waiting: RefCell::new((0..job.outstanding).map(|_| None).collect()),
        });
        let input = Input::new(reader, HEADER_BYTES + job.message_bytes);
        spawn_local(Rc::clone(&connection.output).write(writer));
        spawn_local(Rc::clone(&connection).read(input));
        Ok(connection)
    }

    async fn call(&self, task: usize, request: &[u8]) -> io::Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut()[task] = Some(answer);
        let header = (task as u32).to_be_bytes();
        self.output.put(&[&header, request].concat());
        answered.await.map_err(io::Error::other)
    }

    async fn read(self: Rc<Self>, mut input: Input) -> io::Result<()> {
        loop {
            let frame_bytes = input.frame_bytes;
            for frame in input.read().await?.chunks(frame_bytes) {
                let (header, message) = frame.split_first_chunk().expect("frames are longer");
                let task = u32::from_be_bytes(*header) as usize;
                let waiting = self
                    .waiting
                    .borrow_mut()
                    .get_mut(task)
                    .and_then(Option::take);
                if let Some(answer) = waiting {
                    // A task that ended misses nothing.
                    let _ = answer.send(message.to_vec());
                }
            }
        }
    }
}

/// Frames of one length.
struct Input {
    reader: OwnedReadHalf,
    frame_bytes: usize,
    buffer: Vec<u8>,
    whole: usize,
    part: usize,
}

impl Input {
    fn new(reader: OwnedReadHalf, frame_bytes: usize) -> Self {
        Self {
            reader,
            frame_bytes,
            buffer: vec![0; READ_BYTES],
            whole: 0,
            part: 0,
        }
    }

    /// The whole frames that one read gives.
    async fn read(&mut self) -> io::Result<&[u8]> {
        self.buffer
            .copy_within(self.whole..self.whole + self.part, 0);
        let count = self.reader.read(&mut self.buffer[self.part..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let filled = self.part + count;
        self.whole = filled / self.frame_bytes * self.frame_bytes;
        self.part = filled - self.whole;
        Ok(&self.buffer[..self.whole])
    }
}
