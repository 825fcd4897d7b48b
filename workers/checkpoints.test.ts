/** How a shard makes checkpoints between record batches: bounded pieces, whole in the end, and never in the way. */
import { expect, test } from 'vitest'
import * as frames from '../engine/broker/commit-frames.ts'
import { CommitProducer, type StreamState } from '../engine/broker/commit-producer.ts'
import { emptyLedger } from '../engine/contract/entries.ts'
import { createDoorbell, Doorbell } from '../engine/ring/doorbell.ts'
import { createRing, RingConsumer, RingProducer } from '../engine/ring/spsc-ring.ts'
import { PAGE_CELLS } from '../engine/state/cells.ts'
import { type CheckpointSeat, Checkpoints } from './checkpoints.ts'

/** Half of it has room for seven pages. */
const SMALL_RING = 1 << 16
const LARGE_RING = 1 << 20

/** A stream whose pages all change with each step. */
class Stream implements StreamState {
  position = 0
  nextSeq = 0
  readonly ledger = emptyLedger()
  readonly #pages: number
  #owed = 0

  constructor(pages: number) {
    this.#pages = pages
  }

  cut(): string {
    expect(this.#owed).toBe(0)
    this.#owed = this.#pages
    return `at ${this.position}`
  }

  drain(take: (region: number, index: number, cells: Float64Array) => boolean): boolean {
    while (this.#owed > 0) {
      if (!take(0, this.#pages - this.#owed, new Float64Array(PAGE_CELLS))) return false
      this.#owed--
    }
    return true
  }
}

function harness(pagesOf: readonly number[], pagesATurn: number, ringBytes: number) {
  const sab = createRing(ringBytes)
  const bell = (): Doorbell => new Doorbell(createDoorbell())
  const commits = new CommitProducer(new RingProducer(sab, bell(), bell()))
  const ring = new RingConsumer(sab)
  const streams = pagesOf.map((pages) => new Stream(pages))
  const seats = streams.map((state, stream) => {
    return { pipelineId: 0, stream, state, reportedPosition: 0, checkpointedPosition: -1 }
  })
  const move = (stream: number, position: number): void => {
    streams[stream]!.position = position
    seats[stream]!.reportedPosition = position
  }
  /** What is in the ring: pages as `stream:index`, marks as `stream at position`. */
  const sent = (): string[] => {
    const texts: string[] = []
    for (let kind = ring.peek(); kind >= 0; kind = ring.peek()) {
      const at = ring.position
      const stream = ring.i32[(at + 4) >> 2]!
      if (kind === frames.FRAME_PAGE) texts.push(`${stream}:${ring.i32[(at + 12) >> 2]}`)
      else if (kind === frames.FRAME_CHECKPOINT) texts.push(`${stream} at ${ring.f64[(at + 8) >> 3]}`)
      else texts.push(`${stream} frame ${kind}`)
      ring.release()
    }
    return texts
  }
  const typed: readonly CheckpointSeat[] = seats
  return { checkpoints: new Checkpoints(commits, typed, pagesATurn), commits, move, sent, seats, streams }
}

test('a turn sends a bounded number of pages, and the mark follows the last', () => {
  const { checkpoints, sent } = harness([5], 2, LARGE_RING)
  expect(checkpoints.turn()).toBe(false)
  checkpoints.ask()
  const turns: string[][] = []
  while (checkpoints.turn()) turns.push(sent())
  expect(turns.slice(0, 3)).toEqual([
    ['0:0', '0:1'],
    ['0:2', '0:3'],
    ['0:4', '0 at 0'],
  ])
  expect([checkpoints.isDone, sent()]).toEqual([true, []])
})

test('the position is that of the cut, however far the stream has gone on since', () => {
  const { checkpoints, move, sent, seats } = harness([3], 1, LARGE_RING)
  move(0, 10)
  checkpoints.ask()
  checkpoints.turn()
  move(0, 20)
  checkpoints.finish()
  expect(sent()).toEqual(['0:0', '0:1', '0:2', '0 at 10'])
  expect(seats[0]!.checkpointedPosition).toBe(10)
})

test('asked again while one is under way: one more round, of the streams that moved', () => {
  const { checkpoints, move, sent } = harness([2, 2], 1, LARGE_RING)
  checkpoints.ask()
  checkpoints.turn()
  move(0, 7)
  checkpoints.ask()
  checkpoints.ask()
  checkpoints.finish()
  expect(sent()).toEqual(['0:0', '0:1', '0 at 0', '1:0', '1:1', '1 at 0', '0:0', '0:1', '0 at 7'])
  checkpoints.ask()
  checkpoints.finish()
  expect(sent()).toEqual([])
})

test('a ring that is half full takes no pages, but all else; nothing waits', () => {
  const { checkpoints, commits, streams, sent } = harness([30], 100, SMALL_RING)
  checkpoints.ask()
  for (let turn = 0; turn < 5; turn++) checkpoints.turn()
  expect([checkpoints.awaitsRoom, checkpoints.isDone]).toEqual([true, false])
  // Would block for a minute and then fail if pages had taken the room.
  const { entry } = commits.entriesOf(0, 0)
  for (let seq = 0; seq < 6; seq++) entry(1, seq, 0, 0, new Uint8Array(4_096), 4_096)
  commits.progress(0, 0, streams[0]!)
  const frames = sent()
  expect(frames.filter((text) => text.includes('frame'))).toHaveLength(7)
  while (!checkpoints.isDone) {
    checkpoints.turn()
    frames.push(...sent())
  }
  const pages = frames.filter((text) => !text.includes('frame'))
  expect(pages).toEqual([...Array.from({ length: 30 }, (_, index) => `0:${index}`), '0 at 0'])
})

test('a stream is not cut ahead of the progress that was told', () => {
  const { checkpoints, move, streams } = harness([1], 1, LARGE_RING)
  move(0, 5)
  streams[0]!.position = 6
  checkpoints.ask()
  expect(() => checkpoints.turn()).toThrow('follows the progress that it covers')
})
