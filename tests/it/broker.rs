//! The broker sessions against a real RabbitMQ: what they promise when it misbehaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use rustix::process::{Pid, Signal, kill_process};
use snodo::{
    broker::{
        Address, Confirm, Copy, Publish as _, Received, Settlement,
        consume::{Consumer, Consumers, Tag},
        management::{Management, segment},
        node::{NodeError, NodeOptions, PrivateNode},
        publish::Publisher,
        session::{Endpoint, Patience, Secret, close},
        topology::{apply, verify},
    },
    retry::Pace,
};
use snodo_core::{
    envelope::{Envelope, Message},
    ids::{DeliveryId, Digest, MessageId},
    timestamp::Timestamp,
    topology::{BusNeeds, PartyQueue, RouteQueues, Topology, UNROUTED, plan, route_queue},
};
use snodo_tests::{
    node,
    wait::{eventually, until},
};

const BOUND: Duration = Duration::from_secs(30);

fn patience() -> Patience {
    let millis = Duration::from_millis;
    Patience {
        pace: Pace::try_new(millis(50), millis(500)).expect("sensible"),
        refused: millis(300),
        watchdog: millis(200),
        ..Patience::default()
    }
}

fn planned(endpoint: &Endpoint, routes: &[&str], parties: &[PartyQueue]) -> Topology {
    let bus = BusNeeds {
        vhost: endpoint.vhost.clone(),
        user: endpoint.user.clone(),
        routes: routes.iter().map(|route| RouteQueues::plain(route)).collect(),
        max_queue_bytes: 1 << 30,
    };
    plan(&bus, parties)
}

async fn apply_all(endpoint: &Endpoint, planned: &Topology) {
    let passwords = planned
        .users
        .iter()
        .map(|user| (user.clone(), Secret::Text("secret".to_owned())))
        .collect();
    apply(endpoint, planned, &passwords).await.expect("applied");
}

fn copy(n: u32) -> Copy {
    let mut random = [0; 10];
    random[..4].copy_from_slice(&n.to_be_bytes());
    let id = MessageId::accepted(1_764_000_000_000, random);
    let envelope = Envelope {
        id,
        source: "/test".to_owned(),
        kind: "test.counted.v1".to_owned(),
        subject: None,
        time: Timestamp(1_764_000_000_000),
        correlation: None,
        causation: None,
        traceparent: None,
        party: None,
        purpose: None,
        case: None,
        actor: None,
        actor_location: None,
        actor_loa: None,
        data_ref: None,
    };
    Copy {
        delivery: DeliveryId::derived(id, "route"),
        seq: i64::from(n),
        round: 1,
        route_digest: Digest::of(b"route"),
        alone: false,
        shard: None,
        message: Arc::new(Message { envelope, data: Bytes::from(format!("{{\"n\":{n}}}")) }),
    }
}

fn to_route(name: &str) -> Address {
    Address::Route(name.to_owned())
}

/// Takes and acknowledges until every one of `wanted` has come; returns how often each came.
async fn drain(consumer: &mut Consumer, wanted: &BTreeSet<i64>) -> BTreeMap<i64, u32> {
    let mut seen = BTreeMap::new();
    let settler = consumer.settler();
    let all = async {
        while !wanted.iter().all(|seq| seen.contains_key(seq)) {
            for (tag, received) in consumer.next_batch(100).await {
                let Received::Copy { copy, .. } = received else { panic!("foreign: {received:?}") };
                *seen.entry(copy.seq).or_insert(0) += 1;
                settler.settle(tag, Settlement::Ack);
            }
        }
    };
    tokio::time::timeout(BOUND * 2, all).await.expect("all copies come in time");
    seen
}

async fn one(consumer: &mut Consumer) -> (Tag, Received) {
    let batch = tokio::time::timeout(BOUND, consumer.next_batch(1)).await.expect("a copy in time");
    batch.into_iter().next().expect("not at its end")
}

/// Messages that are ready in a queue; none when it does not exist.
pub(crate) async fn ready(endpoint: &Endpoint, queue: &str) -> Option<u32> {
    let connection = endpoint.dial(0, "test").await.expect("dial");
    let channel = connection.create_channel().await.expect("channel");
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
    let count = declared.ok().map(|queue| queue.message_count());
    close(&connection, "done").await;
    count
}

async fn delete_queue(endpoint: &Endpoint, queue: &str) {
    let connection = endpoint.dial(0, "test").await.expect("dial");
    let channel = connection.create_channel().await.expect("channel");
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
    close(&connection, "done").await;
}

fn rabbitmqctl(node: &PrivateNode, arguments: &[&str]) {
    let output = node.tool("rabbitmqctl").args(arguments).output().expect("rabbitmqctl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn own_node() -> (tempfile::TempDir, PrivateNode) {
    let folder = tempfile::tempdir().expect("folder");
    let node = PrivateNode::start(folder.path(), NodeOptions::default()).await;
    (folder, node.unwrap_or_else(|error| panic!("{error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_comes_back_as_it_went_out_and_is_gone_once_it_is_settled() {
    let endpoint = node::vhost().await;
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));

    let sent = Copy { alone: true, round: 7, ..copy(1) };
    assert_eq!(publisher.publish(&to_route("a"), sent.clone()).await, Confirm::Confirmed);
    let (tag, received) = one(&mut consumer).await;
    let Received::Copy { copy, redelivered } = received else { panic!("foreign: {received:?}") };
    assert_eq!(copy, sent);
    assert!(!redelivered);

    let settler = consumer.settler();
    assert_eq!(settler.outstanding(), 1);
    settler.settle(tag, Settlement::Ack);
    until("the broker is told", BOUND, || settler.outstanding() == 0).await;
    consumer.close().await;
    assert_eq!(ready(&endpoint, &route_queue("a")).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_returned_or_was_not_settled_is_delivered_again() {
    let endpoint = node::vhost().await;
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));
    for n in 1..=3 {
        assert_eq!(publisher.publish(&to_route("a"), copy(n)).await, Confirm::Confirmed);
    }
    let (first, _) = one(&mut consumer).await;
    let (second, _) = one(&mut consumer).await;
    let settler = consumer.settler();
    settler.settle(second, Settlement::Ack);
    settler.settle(first, Settlement::Return);
    until("both are told", BOUND, || settler.outstanding() <= 2).await;
    consumer.close().await;
    // The returned one and the one that nobody took.
    assert_eq!(ready(&endpoint, &route_queue("a")).await, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_takes_is_confirmed_and_lies_in_the_queue_of_the_unrouted() {
    let endpoint = node::vhost().await;
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let lost = |n: u32| n.is_multiple_of(7);
    let confirms = join_all((0..2_000).map(|n| {
        let to = if lost(n) { to_route("nowhere") } else { to_route("a") };
        publisher.publish(&to, copy(n))
    }));
    let confirms = confirms.await;
    assert!(confirms.iter().all(|confirm| *confirm == Confirm::Confirmed));

    let consumers = Consumers::start(&endpoint, patience());
    for (queue, which) in [(UNROUTED.to_owned(), true), (route_queue("a"), false)] {
        let wanted = (0..2_000).filter(|n| lost(*n) == which).map(i64::from).collect();
        let seen = drain(&mut consumers.consumer(&queue), &wanted).await;
        assert_eq!(seen.len(), wanted.len());
        assert!(seen.values().all(|times| *times == 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_without_its_queue_gets_its_copies_returned_and_no_other_party_does() {
    let endpoint = node::vhost().await;
    let party = |name: &str| PartyQueue {
        party: format!("{name}-{}", endpoint.vhost),
        vhost: format!("{name}-{}", endpoint.vhost),
        queue: "inbox".to_owned(),
    };
    let parties = [party("region"), party("asl")];
    let planned = planned(&endpoint, &[], &parties);
    apply_all(&endpoint, &planned).await;
    assert_eq!(verify(&endpoint, &planned).await.expect("verified"), []);
    let asl = endpoint.in_vhost(&parties[1].vhost);
    delete_queue(&asl, "inbox").await;

    let publisher = Publisher::start(&endpoint, &parties, patience());
    let to = |n: u32| Address::Party(parties[n as usize % 2].party.clone());
    let confirms = join_all((0..200).map(|n| publisher.publish(&to(n), copy(n)))).await;
    for (n, confirm) in (0_u32..).zip(confirms) {
        let expected = if n.is_multiple_of(2) { Confirm::Confirmed } else { Confirm::Returned };
        assert_eq!(confirm, expected, "{n}");
    }
    let region = endpoint.in_vhost(&parties[0].vhost);
    assert_eq!(ready(&region, "inbox").await, Some(100));

    apply_all(&endpoint, &planned).await;
    assert_eq!(publisher.publish(&to(1), copy(1)).await, Confirm::Confirmed);
    assert_eq!(ready(&asl, "inbox").await, Some(1));
    let nobody = Address::Party("nobody".to_owned());
    assert_eq!(publisher.publish(&nobody, copy(2)).await, Confirm::Returned);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_reads_its_own_queue_and_may_do_nothing_else() {
    let endpoint = node::vhost().await;
    let party = PartyQueue {
        party: format!("comune-{}", endpoint.vhost),
        vhost: format!("comune-{}", endpoint.vhost),
        queue: "inbox".to_owned(),
    };
    let planned = planned(&endpoint, &[], std::slice::from_ref(&party));
    apply_all(&endpoint, &planned).await;
    let publisher = Publisher::start(&endpoint, std::slice::from_ref(&party), patience());
    let to = Address::Party(party.party.clone());
    assert_eq!(publisher.publish(&to, copy(1)).await, Confirm::Confirmed);

    let own = Endpoint {
        user: party.party.clone(),
        password: Secret::Text("secret".to_owned()),
        ..endpoint.in_vhost(&party.vhost)
    };
    let mut consumer = Consumers::start(&own, patience()).consumer("inbox");
    // Without our headers of custody it is no copy of ours, but it is the party's message.
    let (_, received) = one(&mut consumer).await;
    let Received::Unreadable(message) = received else { panic!("custody is shown to a party") };
    assert_eq!(message.headers["headers"]["ce-type"], "test.counted.v1");
    assert_eq!(&message.body[..], b"{\"n\":1}");

    let stranger = own.in_vhost(&endpoint.vhost);
    let refused = stranger.dial(0, "test").await.expect_err("not its vhost");
    assert!(refused.is_refusal(), "{refused}");
    let connection = own.dial(0, "test").await.expect("its vhost");
    let channel = connection.create_channel().await.expect("channel");
    let declared = channel
        .queue_declare("more".into(), QueueDeclareOptions::durable(), FieldTable::default())
        .await;
    assert!(declared.expect_err("may not").to_string().contains("ACCESS_REFUSED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_drops_nothing() {
    let endpoint = node::vhost().await;
    let mut planned = planned(&endpoint, &["a"], &[]);
    for queue in planned.queues.values_mut() {
        queue.arguments.insert("x-max-length-bytes".to_owned(), 200.into());
    }
    apply_all(&endpoint, &planned).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let mut confirmed = 0;
    loop {
        match publisher.publish(&to_route("a"), copy(confirmed)).await {
            Confirm::Confirmed => confirmed += 1,
            Confirm::Nacked => break,
            other => panic!("{other:?}"),
        }
        assert!(confirmed < 1_000, "200 bytes take no more");
    }
    assert_eq!(ready(&endpoint, &route_queue("a")).await, Some(confirmed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_queue_is_deleted_says_so_and_comes_back_with_it() {
    let endpoint = node::vhost().await;
    let planned = planned(&endpoint, &["a"], &[]);
    apply_all(&endpoint, &planned).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));
    let state = consumer.observe();
    until("consuming", BOUND, || state.borrow().consuming).await;

    delete_queue(&endpoint, &route_queue("a")).await;
    let missing = "SN0816 queue `route.a` is not there";
    until("the fault is named", BOUND, || {
        state.borrow().fault.as_ref().is_some_and(|fault| fault.starts_with(missing))
    })
    .await;
    assert!(!state.borrow().consuming);
    // Its copies are not lost meanwhile.
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);
    assert_eq!(ready(&endpoint, UNROUTED).await, Some(1));

    apply_all(&endpoint, &planned).await;
    assert_eq!(publisher.publish(&to_route("a"), copy(2)).await, Confirm::Confirmed);
    drain(&mut consumer, &BTreeSet::from([2])).await;
    assert_eq!(state.borrow().fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publishing_channel_that_the_broker_closes_is_replaced() {
    let endpoint = node::vhost().await;
    let planned = planned(&endpoint, &["a"], &[]);
    apply_all(&endpoint, &planned).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);
    let management = Management::of(&endpoint).expect("there is one");
    let exchange = format!("/api/exchanges/{}/snodo.deliver", segment(&endpoint.vhost));
    management.delete(&exchange).await.expect("deleted");
    assert_eq!(publisher.publish(&to_route("a"), copy(2)).await, Confirm::Unknown);
    apply_all(&endpoint, &planned).await;
    let sessions = publisher.observe().borrow().sessions;
    assert_eq!(publisher.publish(&to_route("a"), copy(2)).await, Confirm::Confirmed);
    assert_eq!(publisher.observe().borrow().sessions, sessions, "the connection has stayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_of_a_session_that_is_over_settles_nothing() {
    let endpoint = node::vhost().await;
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);
    let (old, _) = one(&mut consumer).await;

    let close = ["close_all_connections", "--vhost", &endpoint.vhost, "test"];
    rabbitmqctl(node::shared().await, &close);
    let (new, received) = one(&mut consumer).await;
    assert!(matches!(received, Received::Copy { redelivered: true, .. }));
    assert_ne!(old, new);
    let settler = consumer.settler();
    settler.settle(old, Settlement::Ack);
    assert_eq!(settler.outstanding(), 1);
    consumer.close().await;
    assert_eq!(ready(&endpoint, &route_queue("a")).await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_consumer_takes_nothing_until_it_is_resumed() {
    let endpoint = node::vhost().await;
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let publisher = Publisher::start(&endpoint, &[], patience());
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));
    let state = consumer.observe();
    until("consuming", BOUND, || state.borrow().consuming).await;
    consumer.pause();
    until("paused", BOUND, || !state.borrow().consuming).await;
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);
    assert_eq!(ready(&endpoint, &route_queue("a")).await, Some(1));
    consumer.resume();
    drain(&mut consumer, &BTreeSet::from([1])).await;
    assert_eq!(state.borrow().fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_names_a_queue_that_was_redeclared_as_classic() {
    let endpoint = node::vhost().await;
    let planned = planned(&endpoint, &["a"], &[]);
    apply_all(&endpoint, &planned).await;
    assert_eq!(verify(&endpoint, &planned).await.expect("verified"), []);
    delete_queue(&endpoint, &route_queue("a")).await;
    let connection = endpoint.dial(0, "test").await.expect("dial");
    let channel = connection.create_channel().await.expect("channel");
    let queue = route_queue("a");
    channel
        .queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default())
        .await
        .expect("declared");
    let findings = verify(&endpoint, &planned).await.expect("verified");
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let named = format!(
        "SN0802 queue `route.a` in vhost `{}`: `x-queue-type` is \"classic\", not \"quorum\"",
        endpoint.vhost
    );
    assert!(texts.iter().any(|text| text.starts_with(&named)), "{texts:#?}");
    assert!(texts.iter().any(|text| text.starts_with("SN0804")), "its binding went with it");
    let refused = apply(&endpoint, &planned, &BTreeMap::new()).await.expect_err("cannot change it");
    assert!(refused.to_string().starts_with("SN0802 queue `route.a`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_is_read_anew_without_a_restart() {
    let endpoint = node::vhost().await;
    let planned = planned(&endpoint, &["a"], &[]);
    apply_all(&endpoint, &planned).await;
    let management = Management::of(&endpoint).expect("there is one");
    let user = format!("rotating-{}", endpoint.vhost);
    let set_password = async |password: &str| {
        let body = serde_json::json!({ "password": password, "tags": "" });
        management.put(&format!("/api/users/{user}"), &body).await.expect("user");
    };
    set_password("first").await;
    let all = serde_json::json!({ "configure": ".*", "write": ".*", "read": ".*" });
    let permissions = format!("/api/permissions/{}/{user}", endpoint.vhost);
    management.put(&permissions, &all).await.expect("permissions");
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "first\n").expect("written");
    let own = Endpoint {
        user: user.clone(),
        password: Secret::File(file.path().to_owned()),
        ..endpoint.clone()
    };
    let publisher = Publisher::start(&own, &[], patience());
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);

    set_password("second").await;
    rabbitmqctl(node::shared().await, &["close_all_connections", "--vhost", &own.vhost, "test"]);
    let state = publisher.observe();
    until("the old password is refused", BOUND, || state.borrow().refused).await;
    assert!(publisher.is_congested());
    std::fs::write(file.path(), "second\n").expect("written");
    until("the new one is taken", BOUND, || !publisher.is_congested()).await;
    assert_eq!(publisher.publish(&to_route("a"), copy(2)).await, Confirm::Confirmed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_one_node_whose_data_outlive_it() {
    let (folder, mut node) = own_node().await;
    let endpoint = node.endpoint();
    let planned = planned(&endpoint, &["a"], &[]);
    apply_all(&endpoint, &planned).await;
    let refused = PrivateNode::start(folder.path(), NodeOptions::default()).await;
    let Err(NodeError::InUse { holder, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(holder, std::process::id().to_string());

    let publisher = Publisher::start(&endpoint, &[], patience());
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);
    publisher.close().await;
    let pid = node.pid().expect("it runs");
    node.stop().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(node);

    let node = PrivateNode::start(folder.path(), NodeOptions::default()).await.expect("again");
    let consumers = Consumers::start(&node.endpoint(), patience());
    drain(&mut consumers.consumer(&route_queue("a")), &BTreeSet::from([1])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed_and_restarted_under_load() {
    const COUNT: u32 = 6_000;
    let (_folder, mut node) = own_node().await;
    let endpoint = node.endpoint();
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let publisher = Arc::new(Publisher::start(&endpoint, &[], patience()));
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));

    // Sixteen publishers that do as the relay does: what is unknown goes out again.
    let progress = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let publishing = (0..16).map(|lane| {
        let (publisher, progress) = (Arc::clone(&publisher), Arc::clone(&progress));
        tokio::spawn(async move {
            let mut unknown = 0_u32;
            for n in (0..COUNT).filter(|n| n % 16 == lane) {
                while publisher.publish(&to_route("a"), copy(n)).await != Confirm::Confirmed {
                    unknown += 1;
                }
                progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            unknown
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let done = || progress.load(std::sync::atomic::Ordering::Relaxed);
    let reading = tokio::spawn(async move {
        let seen = drain(&mut consumer, &(0..i64::from(COUNT)).collect()).await;
        (seen, consumer)
    });
    until("a quarter is confirmed", BOUND, || done() > COUNT / 4).await;
    node.kill();
    until("the loss is seen", BOUND, || publisher.is_congested()).await;
    node.start_again().await.expect("again");
    until("half is confirmed", BOUND, || done() > COUNT / 2).await;
    rabbitmqctl(&node, &["stop_app"]);
    rabbitmqctl(&node, &["start_app"]);
    for lane in publishing {
        lane.await.expect("published");
    }
    let (seen, consumer) = reading.await.expect("read");
    assert_eq!(seen.len(), COUNT as usize);
    // The second stop may come after the last copy was read; the kill cannot.
    assert!(consumer.observe().borrow().sessions >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_broker_makes_publishing_congested_and_consuming_goes_on() {
    let (_folder, node) = own_node().await;
    let endpoint = node.endpoint();
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    // The deadline is shorter than the blockade: what waits for room is not late.
    let patience = Patience { confirm: Duration::from_millis(300), ..patience() };
    let publisher = Publisher::start(&endpoint, &[], patience);
    let consumers = Consumers::start(&endpoint, patience);
    let mut consumer = consumers.consumer(&route_queue("a"));
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);

    rabbitmqctl(&node, &["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let waiting = tokio::spawn(publisher.publish(&to_route("a"), copy(2)));
    until("congested", BOUND, || publisher.is_congested()).await;
    assert!(publisher.observe().borrow().blocked);
    let (tag, _) = one(&mut consumer).await;
    let settler = consumer.settler();
    settler.settle(tag, Settlement::Ack);
    until("acks pass", BOUND, || settler.outstanding() == 0).await;
    rabbitmqctl(&node, &["set_vm_memory_high_watermark", "absolute", "512MB"]);
    assert_eq!(waiting.await.expect("published"), Confirm::Confirmed);
    until("no longer congested", BOUND, || !publisher.is_congested()).await;
    drain(&mut consumer, &BTreeSet::from([2])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_without_a_word_from_the_broker_is_unknown_and_may_go_out_again() {
    let (_folder, node) = own_node().await;
    let endpoint = node.endpoint();
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    let patience = Patience { confirm: Duration::from_millis(500), ..patience() };
    let publisher = Publisher::start(&endpoint, &[], patience);
    let consumers = Consumers::start(&endpoint, patience);
    let mut consumer = consumers.consumer(&route_queue("a"));
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);

    let pid = i32::try_from(node.pid().expect("it runs")).ok().and_then(Pid::from_raw);
    let pid = pid.expect("a process id");
    kill_process(pid, Signal::STOP).expect("frozen");
    let stat = format!("/proc/{}/stat", pid.as_raw_pid());
    until("it stands still", BOUND, || {
        std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T "))
    })
    .await;
    assert_eq!(publisher.publish(&to_route("a"), copy(2)).await, Confirm::Unknown);
    kill_process(pid, Signal::CONT).expect("thawed");
    eventually("it goes out again", BOUND, || async {
        let confirm = publisher.publish(&to_route("a"), copy(2)).await;
        (confirm == Confirm::Confirmed).then_some(())
    })
    .await;
    drain(&mut consumer, &BTreeSet::from([1, 2])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consuming_channel_that_the_broker_closes_in_silence_is_replaced() {
    let (_folder, node) = own_node().await;
    let endpoint = node.endpoint();
    apply_all(&endpoint, &planned(&endpoint, &["a"], &[])).await;
    // The broker closes a channel whose deliveries are not settled in time, and keeps the connection.
    let timeouts = "application:set_env(rabbit, consumer_timeout, 500), \
                    application:set_env(rabbit, channel_tick_interval, 300).";
    rabbitmqctl(&node, &["eval", timeouts]);
    let publisher = Publisher::start(&endpoint, &[], patience());
    let consumers = Consumers::start(&endpoint, patience());
    let mut consumer = consumers.consumer(&route_queue("a"));
    assert_eq!(publisher.publish(&to_route("a"), copy(1)).await, Confirm::Confirmed);
    let (old, _) = one(&mut consumer).await;
    let (new, received) = one(&mut consumer).await;
    assert_ne!(old, new);
    assert!(matches!(received, Received::Copy { redelivered: true, .. }));
    assert_eq!(consumers.observe().borrow().sessions, 1, "the connection has stayed");
    let settler = consumer.settler();
    settler.settle(new, Settlement::Ack);
    until("settled", BOUND, || settler.outstanding() == 0).await;
    eventually("the queue is empty", BOUND, || async {
        ready(&endpoint, &route_queue("a")).await.filter(|count| *count == 0)
    })
    .await;
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by `a_node_ends_with_the_process_that_started_it`"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its child process where")]
async fn holds_a_node_until_it_is_killed() {
    let folder = std::env::var("SNODO_TEST_NODE").expect("set by the test that runs this");
    let folder = std::path::PathBuf::from(folder);
    let node = PrivateNode::start(&folder, NodeOptions::default()).await.expect("started");
    std::fs::write(folder.join("ready"), node.pid().expect("it runs").to_string())
        .expect("written");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_ends_with_the_process_that_started_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut holder = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "broker::holds_a_node_until_it_is_killed", "--ignored"])
        .env("SNODO_TEST_NODE", folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let ready = folder.path().join("ready");
    eventually("the node runs", BOUND * 2, || async { ready.exists().then_some(()) }).await;
    let pids = std::fs::read_to_string(folder.path().join("node.pid")).expect("written");
    let pids: Vec<String> = pids.split_whitespace().map(str::to_owned).collect();
    let runs = |pid: &String| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    };
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(runs));
    holder.kill().expect("killed");
    holder.wait().expect("over");
    until("node and epmd are gone", BOUND, || !pids.iter().any(runs)).await;
}
