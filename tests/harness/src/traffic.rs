//! Traffic between two places: one conversation, or a flow that goes on beside other work.
//!
//! Both show the source address that the far side saw, which is what a VPC CNI must get right.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::netns::Netns;

/// An answer that takes longer than this counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// Pause between two packets of a flow.
const PACE: Duration = Duration::from_millis(50);

/// Opens a TCP connection from one namespace to `address` in another, sends a word each way, and
/// gives the source address that the far side saw.
pub fn talk(from: &Netns, to: &Netns, address: IpAddr) -> Result<IpAddr> {
    let listener = to.run(|| TcpListener::bind((address, 0)))?;
    let port = listener
        .local_addr()
        .map_err(HarnessError::io("read the listener's port"))?
        .port();
    let target = SocketAddr::from((address, port));
    let mut near = from.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5)))?;
    (|| {
        let (mut far, peer) = listener.accept()?;
        let mut word = [0; 4];
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(LOST_AFTER))?;
        }
        near.write_all(b"ping")?;
        far.read_exact(&mut word)?;
        far.write_all(&word)?;
        near.read_exact(&mut word)?;
        Ok(peer.ip())
    })()
    .map_err(HarnessError::io(format!(
        "talk from {} to {} ({target})",
        from.name(),
        to.name()
    )))
}

/// What a flow has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets sent.
    pub sent: u32,
    /// Packets whose echo did not come back.
    pub lost: u32,
    /// Source addresses seen by the far side.
    pub sources: BTreeSet<IpAddr>,
}

/// UDP packets every 50 ms from one namespace to another and back, until stopped.
#[derive(Debug)]
pub struct Flow {
    near_stops: Arc<AtomicBool>,
    far_stops: Arc<AtomicBool>,
    near: JoinHandle<(u32, u32)>,
    far: JoinHandle<std::io::Result<BTreeSet<IpAddr>>>,
}

impl Flow {
    /// Starts a flow from `from` to `address` in `to`.
    pub fn start(from: &Netns, to: &Netns, address: IpAddr) -> Result<Self> {
        let far = to.run(|| UdpSocket::bind((address, 0)))?;
        let near = from.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        (|| {
            near.connect(far.local_addr()?)?;
            near.set_read_timeout(Some(LOST_AFTER))?;
            far.set_read_timeout(Some(PACE))
        })()
        .map_err(HarnessError::io(format!("start a flow to {address}")))?;
        let (near_stops, far_stops) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let near = std::thread::spawn({
            let stop = near_stops.clone();
            move || send(&near, &stop)
        });
        let far = std::thread::spawn({
            let stop = far_stops.clone();
            move || echo(&far, &stop)
        });
        Ok(Self {
            near_stops,
            far_stops,
            near,
            far,
        })
    }

    /// Ends the flow after the packet under way; what it has seen.
    pub fn stop(self) -> Result<Seen> {
        self.near_stops.store(true, Ordering::Relaxed);
        let (sent, lost) = joined(self.near.join());
        // The far side stays until the near side has its last answer: a first packet may wait a
        // second for the address of its neighbour.
        self.far_stops.store(true, Ordering::Relaxed);
        let sources =
            joined(self.far.join()).map_err(HarnessError::io("echo the packets of a flow"))?;
        Ok(Seen {
            sent,
            lost,
            sources,
        })
    }
}

fn joined<T>(result: std::thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn send(socket: &UdpSocket, stop: &AtomicBool) -> (u32, u32) {
    let (mut sent, mut lost) = (0_u32, 0);
    let mut buffer = [0; 16];
    while !stop.load(Ordering::Relaxed) {
        sent += 1;
        // A route that is missing for a moment is an error here, and a lost packet.
        let mut answered = socket.send(&sent.to_be_bytes()).is_ok();
        while answered {
            match socket.recv(&mut buffer) {
                // An answer that comes after its time was counted as lost already.
                Ok(length) if buffer.get(..length) != Some(&sent.to_be_bytes()) => {}
                Ok(_) => break,
                Err(_) => answered = false,
            }
        }
        lost += u32::from(!answered);
        std::thread::sleep(PACE);
    }
    (sent, lost)
}

fn echo(socket: &UdpSocket, stop: &AtomicBool) -> std::io::Result<BTreeSet<IpAddr>> {
    let mut sources = BTreeSet::new();
    let mut buffer = [0; 16];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, peer)) => {
                sources.insert(peer.ip());
                socket.send_to(buffer.get(..length).unwrap_or_default(), peer)?;
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sources)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}
