//! Messages of one moment share a system call, and none of them waits for ever.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use homa::blocking;
use homa::{CallError, CallOptions, Host, Source, Submission};

const CALLS: u64 = 40;

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread")]
async fn what_many_tasks_say_at_once_leaves_together() {
    let host = Host::builder().build().unwrap();
    let client = homa::Client::on(&host).unwrap();
    let server_host = Host::builder().build().unwrap();
    let server = homa::Server::bind_on(&server_host, "127.0.0.1:0")
        .await
        .unwrap();
    let address = server.local_addr();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(address, b"one of many").await.unwrap() })
        })
        .collect();
    for _ in 0..CALLS {
        let request = server.recv().await.unwrap();
        tokio::spawn(async move { request.responder.reply(b"yes").await.unwrap() });
    }
    for call in calls {
        assert_eq!(*call.await.unwrap(), *b"yes");
    }
    for host in [host, server_host] {
        // Where the test was not scheduled for a while, some were asked for again, each alone.
        let counters = host.counters().unwrap().engine;
        let bursts = counters.data_bursts.saturating_sub(counters.data_resent);
        assert!(bursts < CALLS / 2, "{bursts} bursts for {CALLS} messages");
    }
}

#[test]
fn answers_of_a_thread_that_stops_with_requests_left_arrive() {
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let client = blocking::Client::new().unwrap();
    let options = CallOptions {
        deadline: Some(Duration::from_secs(20)),
        idempotent: false,
    };
    for cookie in 0..CALLS {
        let submitted = client.submit_with(server.local_addr(), b"question", cookie, options);
        submitted.unwrap();
    }
    // Each answer is given with more requests in the queue, and nobody comes back for them.
    for _ in 1..CALLS {
        let request = server.recv().unwrap();
        request.responder.reply(b"answer").unwrap();
    }
    let begun = Instant::now();
    for _ in 1..CALLS {
        let done = client.next_completion(None).unwrap().unwrap();
        assert_eq!(*done.result.unwrap(), *b"answer");
    }
    // Not only because the client asked again, which it does once in several milliseconds, or the
    // server gave up.
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(server.recv().unwrap().message.len(), 8);
}

#[test]
fn many_calls_are_submitted_answered_and_completed_together() {
    let server_host = Host::builder().build().unwrap();
    let server = blocking::Server::bind_on(&server_host, "127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let host = Host::builder().build().unwrap();
    let client = blocking::Client::on(&host).unwrap();
    let long: Arc<[u8]> = vec![7; 100_000].into();
    let short = (0..100_u64).map(u64::to_be_bytes).collect::<Vec<_>>();
    let calls = (0..).zip(&short);
    let calls = calls.map(|(cookie, request)| Submission::new(address, &request[..], cookie));
    let last = Submission::new(address, Arc::clone(&long), 100);
    client.submit_all(calls.chain([last])).unwrap();

    let (mut requests, mut answered) = (Vec::new(), 0);
    while answered < 101 {
        let came = server.recv_all(&mut requests, None).unwrap();
        assert_eq!(came, requests.len());
        let replies = requests.drain(..);
        answered += server.reply_all(replies.map(|request| (request.responder, request.message)));
    }
    let mut done = Vec::new();
    while done.len() < 101 {
        assert!(client.completions(&mut done, None).unwrap() > 0);
    }
    done.sort_by_key(|completion| completion.cookie);
    for (completion, request) in done.iter().zip(&short) {
        assert_eq!(**completion.result.as_ref().unwrap(), request[..]);
    }
    assert_eq!(**done[100].result.as_ref().unwrap(), *long);
    drop(done);
    assert_eq!(
        client.completions(&mut Vec::new(), Some(Duration::ZERO)),
        Ok(0)
    );
    assert_eq!(Arc::strong_count(&long), 1, "the request was given back");
    // Where the test was not scheduled for a while, some were asked for again, each alone.
    let counters = host.counters().unwrap().engine;
    let bursts = counters.data_bursts.saturating_sub(counters.data_resent);
    assert!(bursts < 20, "{bursts} bursts for 100 short requests");
}

#[test]
fn a_part_of_shared_bytes_is_sent_from_where_it_lies() {
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let client = blocking::Client::new().unwrap();
    let bytes: Arc<[u8]> = (0..50_000_u32).map(|i| i as u8).collect();
    for (part, sent) in [
        (7..40_000, 7..40_000),
        (49_000..60_000, 49_000..50_000),
        (0..usize::MAX, 0..50_000),
    ] {
        let part = Source::Part(Arc::clone(&bytes), part);
        let call = Submission::new(server.local_addr(), part, 1);
        client.submit_all([call]).unwrap();
        let request = server.recv().unwrap();
        assert_eq!(*request.message, bytes[sent]);
        request.responder.reply(b"got it").unwrap();
        client.next_completion(None).unwrap().unwrap();
    }
    let nothing = Source::Part(Arc::clone(&bytes), 60_000..70_000);
    let call = Submission::new(server.local_addr(), nothing, 2);
    client.submit_all([call]).unwrap();
    let refused = client.next_completion(None).unwrap().unwrap();
    assert_eq!(refused.result.unwrap_err(), CallError::Empty);
    assert_eq!(Arc::strong_count(&bytes), 1, "all parts were given back");
}

#[test]
fn a_call_that_cannot_be_submitted_completes_with_the_reason() {
    let host = Host::builder();
    let host = host.send_budget_bytes(1 << 20).build().unwrap();
    let client = blocking::Client::on(&host).unwrap();
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let bytes: Arc<[u8]> = vec![0; 600_000].into();
    let requests = [
        Source::Copied(&[]),
        Arc::clone(&bytes).into(),
        Arc::clone(&bytes).into(),
    ];
    let calls = (0..).zip(requests);
    let calls = calls.map(|(cookie, request)| Submission::new(address, request, cookie));
    client.submit_all(calls).unwrap();
    let mut done = Vec::new();
    assert_eq!(client.completions(&mut done, None), Ok(2));
    let errors = done.into_iter().map(|completion| completion.result.err());
    let errors: Vec<_> = errors.collect();
    assert!(matches!(
        &errors[..],
        [
            Some(CallError::Empty),
            Some(CallError::SendBufferFull { held: 600_000, .. })
        ]
    ));
    server.recv().unwrap().responder.reply(b"got it").unwrap();
    let done = client.next_completion(None).unwrap().unwrap();
    assert_eq!((done.cookie, &*done.result.unwrap()), (1, &b"got it"[..]));
}

#[test]
fn messages_in_pieces_arrive_as_one_and_are_answered_in_pieces() {
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let client = blocking::Client::new().unwrap();
    for length in [1, 1_000, 50_000] {
        let (head, body) = (vec![1; length], vec![2; 3 * length]);
        let pieces = [&head[..], &[], &body, &head].map(IoSlice::new);
        let call = Submission::new(server.local_addr(), &pieces[..], 7);
        client.submit_all([call]).unwrap();
        let request = server.recv().unwrap();
        assert_eq!(*request.message, *[&head[..], &body, &head].concat());
        let answer = [&request.message[..1], &body].map(IoSlice::new);
        request.responder.reply_vectored(&answer).unwrap();
        let done = client.next_completion(None).unwrap().unwrap();
        assert_eq!(*done.result.unwrap(), *[&[1], &body[..]].concat());
    }
    let empty = [IoSlice::new(&[])];
    let nothing = Submission::new(server.local_addr(), &empty[..], 8);
    client.submit_all([nothing]).unwrap();
    let done = client.next_completion(None).unwrap().unwrap();
    assert_eq!(done.result.unwrap_err(), CallError::Empty);
}

#[test]
fn of_many_answers_those_that_cannot_be_given_are_not_counted() {
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let client = blocking::Client::new().unwrap();
    let calls = [b"stay", b"gone"].map(|request| client.start(server.local_addr(), request));
    let mut requests = Vec::new();
    while requests.len() < 2 {
        server.recv_all(&mut requests, None).unwrap();
    }
    let empty: &[u8] = &[];
    let replies = requests.drain(..).map(|request| match &*request.message {
        b"stay" => (request.responder, &b"yes"[..]),
        _ => (request.responder, empty),
    });
    assert_eq!(server.reply_all(replies), 1);
    let [stay, gone] = calls.map(|call| call.unwrap().wait());
    assert_eq!(*stay.unwrap(), *b"yes");
    assert!(matches!(gone, Err(CallError::DroppedByServer)));
}

#[test]
fn one_shared_response_answers_many_requests_and_is_given_back() {
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let client = blocking::Client::new().unwrap();
    let page: Arc<[u8]> = (0..300_000).map(|index| index as u8).collect();
    let calls: Vec<_> = (0..3)
        .map(|_| client.start(server.local_addr(), b"the page").unwrap())
        .collect();
    for _ in &calls {
        let request = server.recv().unwrap();
        let response = Arc::clone(&page);
        request.responder.reply_shared(response).unwrap();
    }
    for call in calls {
        assert!(*call.wait().unwrap() == *page, "the page came back changed");
    }
    assert!(server.shutdown(Duration::from_secs(20)), "all are acked");
    assert_eq!(Arc::strong_count(&page), 1);
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread")]
async fn tasks_submit_receive_answer_and_complete_many_together() {
    let server = homa::Server::bind("127.0.0.1:0").await.unwrap();
    let client = homa::Client::new().unwrap();
    let long = vec![9; 50_000];
    let calls = (0..CALLS).map(|cookie| Submission::new(server.local_addr(), &long[..100], cookie));
    let last = Submission::new(server.local_addr(), &long[..], CALLS);
    client.submit_all(calls.chain([last])).unwrap();
    let (mut requests, mut answered) = (Vec::new(), 0);
    while answered < CALLS as usize + 1 {
        let came = server.recv_all(&mut requests).await.unwrap();
        assert_eq!(came, requests.len());
        let replies = requests.drain(..);
        let replies = replies.map(|request| (request.responder, request.message));
        answered += server.reply_all(replies).await;
    }
    let mut done = Vec::new();
    while done.len() < CALLS as usize + 1 {
        assert!(client.completions(&mut done).await.unwrap() > 0);
    }
    for completion in done {
        let length = if completion.cookie == CALLS {
            50_000
        } else {
            100
        };
        assert_eq!(completion.result.unwrap().len(), length);
    }
}
