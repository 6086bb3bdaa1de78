//! Memory stays within what is given, with data larger than it: a child process under a memory control group.

use std::process::Command;

use arrow::array::Float64Array;

use super::*;

/// Bytes given to ingest, and to the control group with room for code, stacks and allocator.
const MEMORY: u64 = 128 << 20;
const GROUP: u64 = MEMORY + (32 << 20);
/// Chunks of 8 columns of 65,536 rows: 4 MiB each, 256 MiB in all.
const CHUNKS: u64 = 64;
const CHUNK_ROWS: u64 = 65_536;

/// Numbers made when they are asked for.
struct Generated(AtomicUsize);

impl Source for Generated {
    fn schema(&self) -> SchemaRef {
        Generated::batch(0, 1).schema()
    }

    fn bytes(&self) -> Option<u64> {
        None
    }

    fn rows(&self) -> Option<u64> {
        Some(CHUNKS * CHUNK_ROWS)
    }

    fn next(&self) -> Result<Option<Chunk>> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) as u64;
        let content = Content::Part { file: 0, part: number as usize };
        Ok((number < CHUNKS).then_some(Chunk { number, bytes: 1, content }))
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        Ok(vec![Generated::batch(chunk.number * CHUNK_ROWS, CHUNK_ROWS)])
    }

    fn place(&self, _: u64, row: u64) -> (PathBuf, Place) {
        (PathBuf::from("generated"), Place::Row(row))
    }
}

impl Generated {
    fn batch(first: u64, rows: u64) -> RecordBatch {
        let stream = Stream::new(1, Purpose::Recipe);
        let columns = (0..8).map(|column| {
            let values = (first..first + rows).map(|row| stream.child(column).uniform(row));
            let array: ArrayRef = Arc::new(Float64Array::from_iter_values(values));
            (format!("x{column}"), array)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    }
}

#[test]
#[ignore = "run by the test below, under a memory limit"]
fn child() {
    let Some(output) = std::env::var_os("GRISTMILL_TEST_OUTPUT") else { return };
    let options = IngestOptions {
        memory: Some(MEMORY),
        threads: Some(2),
        shuffle: true,
        test_share: 0.1,
        ..IngestOptions::default()
    };
    let source = Generated(AtomicUsize::new(0));
    let report = ingest_source(&source, Vec::new(), &options, Path::new(&output), &Silent, &Cancel::new()).unwrap();
    assert!(report.spilled_bytes > 200 << 20, "{report:?}");
    println!("{} rows", report.train_rows + report.test_rows);
}

#[test]
fn ingest_of_more_than_memory_stays_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let group = PathBuf::from(format!("/sys/fs/cgroup/memory/gristmill-ingest-{}", std::process::id()));
    let limited = std::fs::create_dir(&group)
        .and_then(|()| std::fs::write(group.join("memory.limit_in_bytes"), GROUP.to_string()));
    if let Err(error) = limited {
        // Best effort: the folder may not have been made.
        let _ = std::fs::remove_dir(&group);
        println!("skipped: no memory control group can be made here: {error}");
        return;
    }
    let output = Command::new("sh")
        .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
        .arg(&group)
        .arg(std::env::current_exe().unwrap())
        .args(["ingest::tests::memory::child", "--exact", "--ignored", "--nocapture"])
        .env("GRISTMILL_TEST_OUTPUT", folder.path().join("data"))
        .output()
        .unwrap();
    let peak = std::fs::read_to_string(group.join("memory.max_usage_in_bytes")).unwrap_or_default();
    let removed = std::fs::remove_dir(&group);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("4194304 rows"), "{text}");
    println!("peak, page cache included: {} of {GROUP} bytes", peak.trim());
    removed.unwrap();
}

/// What is handed out is no more than there is, also where decoding takes much; where it takes nothing, all threads decode and half of
/// the memory holds rows.
#[test]
fn the_parts_of_a_budget_are_no_more_than_the_memory() {
    for (memory, workers) in [256 << 20, 1 << 30, 64 << 30_u64].into_iter().flat_map(|m| [1, 2, 64].map(|w| (m, w))) {
        for decode_bytes in [0, 1 << 20, 32 << 20, 80 << 20] {
            let Budget { keep, chunks, readers, .. } = Budget::new(memory, workers, decode_bytes);
            let flying = chunks.min(readers as u64 * (1 + survey::AHEAD)) * options::PART_BYTES as u64;
            assert!(
                keep + flying + readers as u64 * decode_bytes <= memory / 8 * 7,
                "{memory} {workers} {decode_bytes}"
            );
            assert!((1..=workers as usize).contains(&readers));
            assert!(decode_bytes > 0 || (keep, readers as u64) == (memory / 2, workers));
        }
    }
}
