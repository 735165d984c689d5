//! QUIC: a stream for each RPC. It always encrypts.

use core::net::SocketAddr;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::answer::Answer;

/// The longest message of anything that is measured.
const MESSAGE_MAX_BYTES: usize = 1_000_000;

/// RPCs under way on a connection: more than anything that is measured has, so that they wait for the
/// protocol and not for a number.
const STREAMS_MAX: u32 = 1 << 16;

/// Answers all clients, until something is wrong with the socket, which does not block.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn serve(socket: UdpSocket, answer: Answer) -> io::Result<()> {
    let endpoint = endpoint(socket, Some(server_config()?))?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            // A connection that fails or ends is its client's affair.
            if let Ok(connection) = incoming.await {
                answer_all(connection, answer).await;
            }
        });
    }
    Ok(())
}

async fn answer_all(connection: Connection, answer: Answer) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let request = receive.read_to_end(MESSAGE_MAX_BYTES).await?;
            send.write_all(&answer.to(&request)).await?;
            send.finish()?;
            Ok::<_, Box<dyn core::error::Error + Send + Sync>>(())
        });
    }
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Client {
    connection: Connection,
    /// Ends with the last of its handles.
    _endpoint: Endpoint,
}

impl Client {
    /// Connects by a socket that does not block.
    ///
    /// # Errors
    /// The server is not there.
    pub(crate) async fn connect(socket: UdpSocket, server: SocketAddr) -> io::Result<Self> {
        let endpoint = endpoint(socket, None)?;
        let connecting = endpoint.connect_with(client_config()?, server, "localhost");
        let connection = connecting.map_err(io::Error::other)?.await?;
        Ok(Self {
            connection,
            _endpoint: endpoint,
        })
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) async fn call(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(request).await?;
        send.finish()?;
        let response = receive.read_to_end(MESSAGE_MAX_BYTES).await;
        response.map_err(io::Error::other)
    }
}

fn endpoint(socket: UdpSocket, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    Endpoint::new(
        EndpointConfig::default(),
        server,
        socket,
        Arc::new(TokioRuntime),
    )
}

fn server_config() -> io::Result<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let key =
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    let config = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(config));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS_MAX.into());
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn client_config() -> io::Result<ClientConfig> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
        .with_no_client_auth();
    let config = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
    Ok(ClientConfig::new(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The server is a process of ours, whose certificate is as old as the turn: nobody has signed it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
