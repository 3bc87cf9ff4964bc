//! Real sockets: what a receiver gets, and what happens where there is none.

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

async fn receive(socket: &UdpSocket) -> String {
    let mut packet = vec![0; 65536];
    let len = timeout(PATIENCE, socket.recv(&mut packet)).await.expect("a packet in time").unwrap();
    String::from_utf8(packet[..len].to_vec()).unwrap()
}

fn start(to: Destination) -> (Queue, CancellationToken, tokio::task::JoinHandle<()>) {
    let ((queue, lines), stop) = (queue(), CancellationToken::new());
    let task = tokio::spawn(Sender::new(to, lines).run(stop.clone()));
    (queue, stop, task)
}

#[tokio::test]
async fn lines_are_sent_in_packets_that_a_frame_carries_and_none_is_cut() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (queue, _stop, _task) = start(Destination::Udp(receiver.local_addr().unwrap().to_string()));
    let lines: Vec<String> = (0..100).map(|index| format!("{index}.{}:1|c\n", "x".repeat(90))).collect();
    for line in &lines {
        queue.push(line.clone());
    }
    let (mut received, mut packets) = (String::new(), 0);
    while received.lines().count() < lines.len() {
        let packet = receive(&receiver).await;
        assert!(packet.len() <= 1400 && packet.ends_with('\n'), "{packet}");
        packets += 1;
        received.push_str(&packet);
    }
    assert_eq!(received, lines.concat());
    assert!(packets < 20, "{packets}");
}

/// Whoever counts does not wait, and the program ends although no one takes anything.
#[tokio::test]
async fn a_receiver_that_is_away_holds_up_no_one() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let missing = TempDir::new().unwrap().path().join("missing.sock");
    for to in [
        Destination::Udp(taken.to_string()),
        Destination::Udp("no-such-host.invalid:1".to_owned()),
        Destination::Unix(missing),
    ] {
        let (queue, stop, task) = start(to.clone());
        for _ in 0..3 * WAITING {
            queue.push("x:1|c\n".to_owned());
        }
        // Or it would end before it looked for anyone.
        tokio::task::yield_now().await;
        stop.cancel();
        timeout(PATIENCE, task).await.unwrap_or_else(|_| panic!("{to} holds up the end")).unwrap();
    }
}

/// The time of the runtime, which stands still unless something waits for it.
#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_the_pause_to_be_over() {
    let missing = TempDir::new().unwrap().path().join("missing.sock");
    let (queue, stop, task) = start(Destination::Unix(missing));
    queue.push("lost:1|c\n".to_owned());
    // What is pushed is thrown away once it pauses.
    while queue.0.capacity() < WAITING {
        tokio::task::yield_now().await;
    }
    let cancelled = Instant::now();
    stop.cancel();
    task.await.unwrap();
    assert_eq!(cancelled.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_comes_back_is_found_and_gets_nothing_old() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("dog.sock");
    let (queue, _stop, _task) = start(Destination::Unix(path.clone()));
    queue.push("lost:1|c\n".to_owned());
    // Longer than the first attempt takes, which finds no one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let receiver = UnixDatagram::bind(&path).unwrap();
    queue.push("lost as well:1|c\n".to_owned());
    tokio::time::sleep(PAUSE).await;
    queue.push("found:1|c\n".to_owned());
    let mut packet = [0; 1024];
    let len = receiver.recv(&mut packet).await.unwrap();
    assert_eq!(std::str::from_utf8(&packet[..len]).unwrap(), "found:1|c\n");
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (queue, stop, task) = start(Destination::Udp(receiver.local_addr().unwrap().to_string()));
    queue.push("first:1|c\n".to_owned());
    assert_eq!(receive(&receiver).await, "first:1|c\n");
    queue.push("last:1|c\n".to_owned());
    stop.cancel();
    timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!(receive(&receiver).await, "last:1|c\n");
}
