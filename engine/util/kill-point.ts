/**
 * Named places at which a test lets the whole process die (SIGKILL) or freeze (SIGSTOP), or one thread wait. Armed by the
 * environment of the process, once a thread: MILLRACE_TEST_KILL_AT=name, name:hit, name:hit:SIGSTOP or name:hit:4000 (the
 * thread waits for so many milliseconds) means the hit-th time that a thread comes by. Anything else there is ignored by name: a process that is not under test must not be stopped by a typo.
 *
 * Guarantee: unarmed, a place costs one comparison with null. Never put one where samples are counted: only where a
 * batch, a page, a request or a transaction passes. Each name stands at one place; test/crash holds the list to the code.
 */
export const KILL_POINTS = [
  // Start: who owns the store, what it holds.
  'open-claimed',
  'open-log-identity',
  'open-state-identity',
  'open-fenced',
  'open-complete',
  'heartbeat-drafted',
  'heartbeat-written',
  'topics-made',
  'pipelines-made',
  'shard-restoring',
  'shard-restored',
  // A request: from its frames to its answer.
  'request-pushed',
  'log-staged',
  'log-begun',
  'log-written',
  'log-committed',
  'log-shown',
  'log-ends-published',
  'log-acknowledged',
  'answer-due',
  'answer-sent',
  // A shard's turn, and its checkpoint.
  'shard-caught-up',
  'shard-reporting',
  'shard-reported',
  'checkpoint-cut',
  'checkpoint-page',
  'checkpoint-paged',
  'checkpoint-marked',
  // A commit.
  'commit-taken',
  'state-begun',
  'commit-entry',
  'commit-progress',
  'commit-page',
  'commit-checkpoint',
  'state-written',
  'state-committed',
  'commit-settled',
  'commit-untold',
  'commit-told',
  // A sink.
  'sink-positioned',
  'sink-delivering',
  'sink-delivered',
  'sink-remembering',
  'sink-remembered',
  'file-checked',
  'file-written',
  'file-synced',
  'http-posting',
  'http-answered',
  // Stop.
  'writer-ends',
  'shard-ends',
  'committer-ends',
  'close-releasing',
  'close-released',
] as const

export type KillPoint = (typeof KILL_POINTS)[number]

export const KILL_AT_VARIABLE = 'MILLRACE_TEST_KILL_AT'

/** How long a thread waits at its place for the stop to reach it. */
const STOPPED_MS_MAX = 3_000

interface Armed {
  readonly name: string
  /** Null: only the thread waits. */
  readonly signal: 'SIGKILL' | 'SIGSTOP' | null
  readonly waitMs: number
  hitsLeft: number
}

const armed: Armed | null = armedBy(process.env[KILL_AT_VARIABLE])

export function killPoint(name: KillPoint): void {
  if (armed === null) return
  if (armed.name !== name || --armed.hitsLeft !== 0) return
  if (armed.signal !== null) process.kill(process.pid, armed.signal)
  // SIGKILL takes this thread before it goes on. SIGSTOP may be taken by another thread first, when that gets its turn.
  if (armed.signal !== 'SIGKILL') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, armed.waitMs)
}

function armedBy(written: string | undefined): Armed | null {
  if (written === undefined) return null
  const [name, hit = '1', signal = 'SIGKILL'] = written.split(':')
  const hitsLeft = Number(hit)
  const isKnown = KILL_POINTS.some((point) => point === name)
  if (name === undefined || !isKnown || !Number.isSafeInteger(hitsLeft) || hitsLeft < 1) return null
  if (signal === 'SIGKILL' || signal === 'SIGSTOP') return { name, signal, waitMs: STOPPED_MS_MAX, hitsLeft }
  const waitMs = Number(signal)
  return Number.isSafeInteger(waitMs) && waitMs > 0 ? { name, signal: null, waitMs, hitsLeft } : null
}
