//! Programs write down what they send and receive.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use homa::Host;
use homa::blocking::{Client, Server};
use pcap_parser::{Block, PcapNGSlice, traits::PcapNGPacketBlock};

/// The frames of a pcapng file.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let blocks = PcapNGSlice::from_slice(file).unwrap();
    blocks
        .filter_map(|block| match block.unwrap() {
            pcap_parser::PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                Some(packet.packet_data().to_vec())
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_host_writes_down_both_directions_of_its_packets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.pcapng");
    // Two runs: the second goes on behind the first.
    for run in 1..=2 {
        let host = Host::builder().capture(&file).build().unwrap();
        let server = Server::bind_on(&host, "127.0.0.1:0").unwrap();
        let port = server.local_addr().port();
        let client = Client::on(&host).unwrap();
        let call = client.start(server.local_addr(), &[7; 5_000]).unwrap();
        let request = server.recv().unwrap();
        request.responder.reply(b"short").unwrap();
        assert_eq!(*call.wait().unwrap(), *b"short");
        assert_eq!(host.counters().unwrap().host.capture_lost, 0);

        let frames = frames(&std::fs::read(&file).unwrap());
        assert!(frames.len() >= 4 * run);
        // IPv4 header, UDP header, Homa header: destination port, and the same in both.
        let of_server = |frame: &&Vec<u8>| frame[22..24] == port.to_be_bytes();
        let to_server = frames.iter().filter(of_server);
        assert!(to_server.clone().count() >= 2, "sent, and received");
        assert!(
            to_server
                .clone()
                .all(|frame| frame[30..32] == frame[22..24])
        );
        assert!(
            to_server
                .clone()
                .all(|frame| frame[12..16] == [127, 0, 0, 1])
        );
        assert!(frames.iter().any(|frame| frame.ends_with(b"short")));
    }
}

#[test]
fn a_file_that_is_no_capture_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("letter.txt");
    std::fs::write(&file, "Dear reader").unwrap();
    let error = Host::builder().capture(&file).build().err().unwrap();
    assert!(error.to_string().contains("is no pcapng file"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"Dear reader");
}
