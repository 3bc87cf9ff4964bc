//! FetchJWTSVID: who gets which tokens, and what a bad request or a bad server is answered with.

use plastron_agent_core::upstream::UpstreamError;
use plastron_spiffe::jwt::UnverifiedJwt;

use super::*;

fn ids(tokens: &[wire::Jwtsvid]) -> Vec<&str> {
    tokens.iter().map(|token| token.spiffe_id.as_str()).collect()
}

#[tokio::test]
async fn a_workload_gets_one_token_for_each_of_its_entries_in_their_order() {
    let world = World::start(USUAL, &[("b", "/web", "", 1), ("a", "/db", "int", 2)]).await;
    let mut client = world.client().await;
    let tokens = client.tokens(&["y", "x"], "").await.unwrap();
    assert_eq!(ids(&tokens), ["spiffe://example.org/db", "spiffe://example.org/web"]);
    assert_eq!((tokens[0].hint.as_str(), tokens[1].hint.as_str()), ("int", ""));
    for token in &tokens {
        let jwt = UnverifiedJwt::parse(&token.svid).unwrap();
        assert_eq!(jwt.claimed_id().as_str(), token.spiffe_id);
        assert_eq!(jwt.claimed_audience(), ["x", "y"]);
    }
    let one = client.tokens(&["x", "y"], "spiffe://example.org/web").await.unwrap();
    assert_eq!(one, tokens[1..], "the same request gets the same token");
    assert_eq!(world.server.state().jwt.calls.len(), 2);

    // The order is the entries', also where the later one's token is there first.
    client.tokens(&["z"], "spiffe://example.org/web").await.unwrap();
    world.server.state().jwt.delay = Duration::from_millis(50);
    let tokens = client.tokens(&["z"], "").await.unwrap();
    assert_eq!(ids(&tokens), ["spiffe://example.org/db", "spiffe://example.org/web"]);
}

#[tokio::test]
async fn of_equal_hints_the_oldest_entry_keeps_it() {
    let entries = [("a", "/a", "x", 9), ("b", "/b", "x", 3), ("c", "/c", "y", 1), ("d", "/d", "", 1)];
    let world = World::start(USUAL, &entries).await;
    let mut client = world.client().await;
    let tokens = client.tokens(&["x"], "").await.unwrap();
    assert_eq!(ids(&tokens), ["spiffe://example.org/b", "spiffe://example.org/c", "spiffe://example.org/d"]);
    refused(client.tokens(&["x"], "spiffe://example.org/a").await, Code::PermissionDenied, "no identity issued");
}

#[tokio::test]
async fn one_hundred_callers_cost_one_signature() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    world.server.state().jwt.delay = Duration::from_millis(300);
    let mut calls = Vec::new();
    for _ in 0..10 {
        let client = world.client().await;
        for _ in 0..10 {
            let mut client = client.clone();
            calls.push(tokio::spawn(async move { client.tokens(&["x"], "").await.unwrap() }));
        }
    }
    let mut tokens = Vec::new();
    for call in calls {
        tokens.extend(call.await.unwrap());
    }
    assert_eq!(tokens.len(), 100);
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(world.server.state().jwt.calls.len(), 1);
}

/// Threat 30: what a request may not be. Nothing of it reaches the server.
#[tokio::test]
async fn a_bad_request_is_refused_with_its_reason() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let mut client = world.client().await;
    let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "x".repeat(4097);
    let id = "invalid requested SPIFFE ID: ";
    let cases: [(&[&str], &str, &str); 11] = [
        (&[], "", "audience must be specified"),
        (&[""], "", "audience must be specified"),
        (&["", ""], "", "audience must be specified"),
        (&[], "web", "audience must be specified"),
        (&many, "", "more than 32 audiences"),
        (&[&long], "", "audiences of more than 4096 bytes"),
        (&["x"], "web", id),
        (&["x"], "spiffe://example.org/", id),
        (&["x"], "spiffe://example.org//web", id),
        (&["x"], "SPIFFE://example.org/web", id),
        (&["x"], "spiffe://example.org/w\u{1b}b", id),
    ];
    for (audience, spiffe_id, message) in cases {
        let status = client.tokens(audience, spiffe_id).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{spiffe_id:?} {status}");
        assert!(status.message().starts_with(message), "{spiffe_id:?} {status}");
        assert!(!status.message().contains('\u{1b}'), "{status}");
    }
    for spiffe_id in ["spiffe://example.org/other", "spiffe://other.test/web", "spiffe://example.org"] {
        refused(client.tokens(&["x"], spiffe_id).await, Code::PermissionDenied, "no identity issued");
    }
    let long = ["x".repeat(9000)];
    let status = client.tokens(&[&long[0]], "").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(world.server.state().jwt.calls.is_empty());
}

#[tokio::test]
async fn a_workload_without_an_entry_gets_no_token() {
    let world = World::start(Options { bundles: BundleAccess::AnyLocalProcess, ..USUAL }, &[]).await;
    world.server.add_entry("a", "/web", &["test:other"]);
    let mut client = world.client().await;
    refused(client.tokens(&["x"], "").await, Code::PermissionDenied, "no identity issued");
    refused(client.tokens(&["x"], "spiffe://example.org/web").await, Code::PermissionDenied, "no identity issued");
}

/// The peer learns a code and which step failed; the agent's log has the rest.
#[tokio::test]
async fn what_the_server_does_wrong_is_told_in_general_terms() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    let mut client = world.client().await;
    let unimplemented = |message: &str| UpstreamError::Unimplemented { rpc: "NewJWTSVID", message: message.to_owned() };
    let cases = [
        (UpstreamError::DeadlineExceeded { rpc: "NewJWTSVID", seconds: 30 }, "the server can't be reached"),
        // In the words that SPIRE's agent repeats, code and all, which scripts look for.
        (
            unimplemented("JWT functionality is disabled"),
            "rpc error: code = Unimplemented desc = JWT functionality is disabled",
        ),
        (unimplemented("secret"), "the server issues none"),
        (UpstreamError::InvalidArgument { rpc: "NewJWTSVID", message: "secret".to_owned() }, "the server issues none"),
        (UpstreamError::MalformedReply { rpc: "NewJWTSVID", reason: "secret".to_owned() }, "the server issues none"),
    ];
    for (error, reason) in cases {
        world.server.state().jwt.failures.push_back(error);
        refused(client.tokens(&["x"], "").await, Code::Unavailable, &format!("could not fetch JWT-SVID: {reason}"));
    }
    world.server.state().jwt.spoil = Some(|reply| reply.token.push('x'));
    world.server.state().jwt.spoil = Some(|reply| reply.expires_at = 1);
    let message = "could not fetch JWT-SVID: the server issued an unacceptable one";
    refused(client.tokens(&["x"], "").await, Code::Unavailable, message);
    world.server.state().jwt.spoil = None;
    client.tokens(&["x"], "").await.unwrap();
}

#[tokio::test]
async fn one_token_that_can_not_be_had_fails_the_call() {
    let world = World::start(USUAL, &[("a", "/a", "", 1), ("b", "/b", "", 1)]).await;
    let mut client = world.client().await;
    client.tokens(&["x"], "spiffe://example.org/a").await.unwrap();
    let error = UpstreamError::InvalidArgument { rpc: "NewJWTSVID", message: "no".to_owned() };
    world.server.state().jwt.failures.push_back(error);
    let status = client.tokens(&["x"], "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(client.tokens(&["x"], "").await.unwrap().len(), 2);
}

/// An entry that an administrator edits while its token is under way is no entry that was taken away.
#[tokio::test]
async fn an_entry_that_changes_under_a_call_is_asked_for_again_and_one_that_goes_is_not() {
    let world = World::start(USUAL, &[("a", "/web", "", 1)]).await;
    world.server.state().jwt.delay = Duration::from_millis(500);
    let mut client = world.client().await;
    let edit = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut state = world.server.state();
        let entry = state.entries.get_mut("a").unwrap();
        (entry.spiffe_id, entry.revision) = (domain().with_path("/api").unwrap(), 1);
    };
    let (tokens, ()) = tokio::join!(client.tokens(&["x"], ""), edit);
    assert_eq!(ids(&tokens.unwrap()), ["spiffe://example.org/api"]);

    let remove = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.server.state().entries.clear();
    };
    let (tokens, ()) = tokio::join!(client.tokens(&["y"], ""), remove);
    refused(tokens, Code::PermissionDenied, "no identity issued");
}
