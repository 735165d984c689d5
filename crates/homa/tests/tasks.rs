//! The asynchronous API, on both flavours of runtime.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::time::Duration;

use common::{answer, eventually, held, message};
use homa::{
    BindError, CallError, CallOptions, Client, Host, RecvError, ReplyError, Server, blocking,
};

/// A server that answers each request in a task of its own.
async fn echo(host: &Host) -> Server {
    let server = Server::bind_on(host, "127.0.0.1:0").await.unwrap();
    let own = server.clone();
    tokio::spawn(async move {
        while let Ok(request) = own.recv().await {
            tokio::spawn(async move {
                // A client that has gone is no concern of the server.
                let _ = request.responder.reply(&answer(&request.message)).await;
            });
        }
    });
    server
}

async fn calls_of_every_length_come_back() {
    let server = echo(&Host::builder().build().unwrap()).await;
    let client = Client::new().unwrap();
    for (seed, length) in [1, 1_000, 65_451, 65_452, 1_000_000]
        .into_iter()
        .enumerate()
    {
        let request = message(seed as u64, length);
        let response = client.call(server.local_addr(), &request).await.unwrap();
        assert!(
            *response == *answer(&request),
            "{length} bytes came back changed"
        );
    }
    let calls: Vec<_> = (0..500)
        .map(|seed| {
            let (client, address) = (client.clone(), server.local_addr());
            tokio::spawn(async move {
                let request = message(seed, 1 + seed as usize * 3);
                let response = client.call(address, &request).await.unwrap();
                assert_eq!(*response, *answer(&request));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert!(client.shutdown(Duration::from_secs(5)).await);
    assert!(server.shutdown(Duration::from_secs(5)).await);
    assert_eq!(server.recv().await.unwrap_err(), RecvError::Closed);
}

#[tokio::test(flavor = "current_thread")]
async fn calls_of_every_length_come_back_on_one_thread() {
    calls_of_every_length_come_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_length_come_back_on_several_threads() {
    calls_of_every_length_come_back().await;
}

#[tokio::test]
async fn dropping_a_call_aborts_it() {
    let server_host = Host::builder().build().unwrap();
    let server = Server::bind_on(&server_host, "127.0.0.1:0").await.unwrap();
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    let call = client.call(server.local_addr(), b"never mind");
    let request = tokio::select! {
        _ = call => unreachable!("nobody answered"),
        request = server.recv() => request.unwrap(),
    };
    assert_eq!(held(&host), (0, 0, 0));
    while held(&server_host).1 > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        request.responder.reply(b"late").await.unwrap_err(),
        ReplyError::Gone
    );
}

#[tokio::test]
async fn dropping_a_wait_loses_no_request_and_no_completion() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new().unwrap();
    {
        let first = server.recv();
        let second = server.recv();
        tokio::pin!(first, second);
        // Both wait before the request comes; the one that is woken for it goes.
        assert!(
            tokio::time::timeout(Duration::from_millis(5), &mut first)
                .await
                .is_err()
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(5), &mut second)
                .await
                .is_err()
        );
        client
            .submit(server.local_addr(), b"question", 3)
            .await
            .unwrap();
    }
    server
        .recv()
        .await
        .unwrap()
        .responder
        .reply(b"answer")
        .await
        .unwrap();
    let nothing = tokio::time::timeout(Duration::ZERO, client.next_completion()).await;
    let done = match nothing {
        Ok(done) => done.unwrap(),
        Err(_) => client.next_completion().await.unwrap(),
    };
    assert_eq!(done.cookie, 3);
    assert_eq!(*done.result.unwrap(), *b"answer");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_a_dropped_responder_at_once() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new().unwrap();
    let hurried = CallOptions {
        deadline: Some(Duration::from_millis(20)),
        ..CallOptions::default()
    };
    let outcome = client
        .call_with(server.local_addr(), b"hurry", hurried)
        .await;
    assert_eq!(outcome.unwrap_err(), CallError::DeadlineExceeded);
    let pending = client.start(server.local_addr(), b"please").await.unwrap();
    loop {
        let request = server.recv().await.unwrap();
        if *request.message == *b"please" {
            break;
        }
    }
    assert_eq!(pending.await.unwrap_err(), CallError::DroppedByServer);
}

#[tokio::test]
async fn closing_wakes_every_task_that_waits() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new().unwrap();
    let pending = client
        .start(server.local_addr(), b"unanswered")
        .await
        .unwrap();
    let request = server.recv().await.unwrap();
    let receiver = tokio::spawn({
        let server = server.clone();
        async move { server.recv().await.unwrap_err() }
    });
    let taker = tokio::spawn({
        let client = client.clone();
        async move { client.next_completion().await.unwrap_err() }
    });
    tokio::task::yield_now().await;
    client.close();
    assert_eq!(pending.await.unwrap_err(), CallError::Closed);
    assert_eq!(taker.await.unwrap(), RecvError::Closed);
    server.close();
    assert_eq!(receiver.await.unwrap(), RecvError::Closed);
    let late = request.responder.reply(b"late").await;
    assert_eq!(late.unwrap_err(), ReplyError::Closed);
}

#[test]
fn without_a_runtime_there_is_a_clear_error() {
    assert_eq!(Client::new().unwrap_err(), BindError::NoRuntime);
    let link = homa::memory::pair(&homa::memory::Config::default())
        .unwrap()
        .0;
    let host = Host::builder().build().unwrap();
    assert_eq!(
        Server::on_link(&host, Box::new(link)).unwrap_err(),
        BindError::NoRuntime
    );
}

#[test]
fn threads_and_tasks_share_a_host_and_the_host_outlives_the_runtime() {
    let host = Host::builder().build().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(echo(&Host::builder().build().unwrap()));
    let address = server.local_addr();
    let in_tasks = runtime.block_on(async { Client::on(&host).unwrap() });
    let in_threads = blocking::Client::on(&host).unwrap();
    let response = runtime.block_on(in_tasks.call(address, b"task"));
    assert_eq!(*response.unwrap(), *answer(b"task"));
    assert_eq!(
        *in_threads.call(address, b"thread").unwrap(),
        *answer(b"thread")
    );

    drop(runtime);
    let echo = common::Echo::plain();
    // Nobody waits: the background thread has taken over from the runtime.
    let pending = in_threads
        .start(echo.address, &message(1, 500_000))
        .unwrap();
    assert!(eventually(|| pending.is_done()));
    assert!(pending.wait().is_ok());
}
