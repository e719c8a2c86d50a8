//! Replies that are nearly EC2's: whatever is taken out of one was in it.

use onsen_fuzz::fuzz_times;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// Each input is a call over loopback by a client of its own.
const RUNS: u64 = 150;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn no_address_comes_out_of_a_broken_reply_that_was_not_in_it() {
    let runtime = runtime();
    fuzz_times("ec2-replies", RUNS, |bytes| {
        let body = String::from_utf8_lossy(bytes).into_owned();
        for status in [200, 400, 503] {
            let reply = Reply::Send(status, body.clone());
            let (outcome, sent) = runtime.block_on(outcome_of(&assign(), reply));
            assert_eq!(sent, 1, "a count is never sent twice");
            if let Ec2Outcome::Done(gave) = outcome {
                assert_eq!(status, 200, "done by an error: {gave:?}");
                let Ec2Gave::Blocks(blocks) = gave else {
                    panic!("an assign gave {gave:?}");
                };
                assert!(!blocks.is_empty());
                for block in blocks {
                    let address = block.base().to_string();
                    assert!(body.contains(&address), "{address} is not in {body}");
                }
            }
        }
    });
}

#[test]
fn no_eni_comes_out_of_a_broken_view_that_was_not_in_it() {
    let runtime = runtime();
    fuzz_times("ec2-views", RUNS, |bytes| {
        let body = String::from_utf8_lossy(bytes).into_owned();
        // A page that names a next one would be given for ever.
        if body.contains("nextToken") {
            return;
        }
        let looked = runtime.block_on(async {
            let server = serve(vec![
                Reply::Send(200, body.clone()),
                Reply::Send(200, described("")),
                Reply::Send(403, error("UnauthorizedOperation")),
            ])
            .await;
            ec2(&server.endpoint).look().await
        });
        let Ok(view) = looked else {
            return;
        };
        let primary = view
            .attached
            .iter()
            .filter(|eni| eni.id.as_str() == PRIMARY);
        assert_eq!(primary.count(), 1, "a view without its primary ENI: {body}");
        for eni in view.attached {
            assert!(body.contains(eni.id.as_str()));
            for block in eni.blocks {
                let base = block.base().to_string();
                assert!(body.contains(&base), "{base} is not in {body}");
            }
        }
    });
}
