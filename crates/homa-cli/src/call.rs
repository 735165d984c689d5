//! `homa call`: one request, one response.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use homa::CallOptions;
use homa::blocking::Client;

use crate::args::Call;
use crate::failure::Failure;

/// Sends the request and writes its response.
///
/// # Errors
/// The request cannot be read or is empty, there is no response, or it cannot be written.
pub(crate) fn run(arguments: &Call) -> Result<(), Failure> {
    let request = request(arguments)?;
    if request.is_empty() {
        return Err(Failure::Usage(
            "the message is empty; give it at least one byte".into(),
        ));
    }
    let client = Client::on(&arguments.host.build()?).map_err(Failure::work("cannot call"))?;
    let options = CallOptions {
        deadline: Some(arguments.timeout),
        ..CallOptions::default()
    };
    let response = client
        .call_with(&arguments.server, &request, options)
        .map_err(Failure::work(&arguments.server))?;
    match &arguments.out {
        Some(file) => fs::write(file, &*response).map_err(Failure::work(file.display())),
        None => io::stdout()
            .write_all(&response)
            .map_err(Failure::work("cannot print")),
    }
}

fn request(arguments: &Call) -> Result<Vec<u8>, Failure> {
    let limit = arguments.host.message_limit();
    match (&arguments.message, &arguments.file) {
        (Some(message), _) => Ok(message.clone().into_bytes()),
        (None, Some(file)) => {
            let opened = File::open(file).map_err(Failure::work(file.display()))?;
            read(opened, limit).map_err(Failure::work(file.display()))
        }
        (None, None) => read(io::stdin(), limit).map_err(Failure::work("standard input")),
    }
}

/// All of it; of what is too long for a message, enough to be told so.
fn read(source: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
