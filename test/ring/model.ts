/**
 * engine/ring as generators: the same names, the same arithmetic (layout.ts is shared), each shared access a `yield`.
 * conformance.test.ts holds model and code to the same accesses in the same order. A `Mutant` is one plausible slip, made
 * at one place below; the explorer must catch each.
 */
import * as layout from '../../engine/ring/layout.ts'
import { guarantee, type Program, WAIT_TIMED_OUT } from './access.ts'

export const MUTANTS = [
  'tail published before the frame header is written',
  'tail published before the payload is written',
  'tail stored plainly',
  'tail loaded plainly',
  'head stored plainly',
  'head loaded plainly',
  'head published before the payload is read',
  'head published by the quarter only',
  'one header too much room',
  'a full ring taken for empty',
  'frame wraps without padding',
  'padding not counted in the room',
  'padding written without its length',
  'padding not skipped',
  'padding not released',
  'consumer does not look again before sleeping',
  'consumer looks again before it announces',
  'producer does not look again before sleeping',
  'consumer bell rung before the tail is published',
  'room bell rung before the head is published',
  'room bell not rung',
  'bell changes the word without a notify',
  'bell notifies without changing the word',
  'announcement stored plainly',
  'announcement looked up plainly',
] as const
export type Mutant = (typeof MUTANTS)[number]

const ANNOUNCED = 1

export class ModelDoorbell {
  readonly word: number
  readonly #mutant: Mutant | null

  constructor(word: number, mutant: Mutant | null = null) {
    this.word = word
    this.#mutant = mutant
  }

  *prepare(by: string): Program<number> {
    const { word } = this
    if (this.#mutant === 'announcement stored plainly') {
      const seen = yield { op: 'load', site: `prepare by ${by}`, word }
      yield { op: 'store', site: `prepare by ${by}`, word, value: seen | ANNOUNCED }
      return seen | ANNOUNCED
    }
    return (yield { op: 'or', site: `prepare by ${by}`, word, value: ANNOUNCED }) | ANNOUNCED
  }

  *wait(ticket: number, by: string): Program<boolean> {
    const { word } = this
    const result = yield { op: 'wait', site: `wait by ${by}`, word, expected: ticket }
    if (result !== WAIT_TIMED_OUT) return true
    return (yield { op: 'and', site: `timed out by ${by}`, word, value: ~ANNOUNCED }) !== ticket
  }

  *cancel(by: string): Program {
    yield { op: 'and', site: `cancel by ${by}`, word: this.word, value: ~ANNOUNCED }
  }

  *ring(by: string): Program {
    const { word } = this
    const mutant = this.#mutant
    const plain = mutant === 'announcement looked up plainly'
    const seen = yield { op: plain ? 'load' : 'atomic-load', site: `ring by ${by}`, word }
    if ((seen & ANNOUNCED) === 0) return
    if (mutant !== 'bell notifies without changing the word') {
      const value = (seen + 1) | 0
      const found = yield { op: 'compare-exchange', site: `ring by ${by}`, word, expected: seen, value }
      if (found !== seen) return
    }
    if (mutant !== 'bell changes the word without a notify')
      yield { op: 'notify', site: `ring by ${by}`, word }
  }
}

export interface ModelRing {
  /** Number of the ring's first word: rings of one model lie apart. */
  base: number
  capacity: number
  /** The real ring publishes its head a quarter of the capacity late at most; small models need it larger. */
  publishBytes: number
  /** Where head and tail stand at first. */
  start: number
  mutant: Mutant | null
}

export class ModelProducer {
  readonly frameBytesMax: number
  readonly ring: ModelRing
  readonly #wakes: ModelDoorbell
  readonly #room: ModelDoorbell
  tail: number
  headCache: number
  claimedBytes = 0
  claimedAt = 0
  claimedLength = 0

  constructor(ring: ModelRing, wakes: ModelDoorbell, room: ModelDoorbell) {
    this.ring = ring
    this.frameBytesMax = layout.payloadBytesMax(ring.capacity)
    this.#wakes = wakes
    this.#room = room
    this.tail = ring.start
    this.headCache = ring.start
  }

  fields(): unknown {
    return [this.tail, this.headCache, this.claimedBytes, this.claimedAt, this.claimedLength]
  }

  *claim(bytes: number): Program<number> {
    const { mutant, capacity } = this.ring
    const { tail } = this
    const needed = this.neededBytes(bytes)
    const frame = layout.frameBytes(bytes)
    const padding = needed - frame
    const counted = mutant === 'padding not counted in the room' ? frame : needed
    if (!(yield* this.hasRoom(counted, 'claim'))) return -1
    if (padding > 0) {
      const at = (layout.FRAMES_AT + (tail & (capacity - 1))) >> 2
      if (mutant !== 'padding written without its length') {
        const value = padding - layout.FRAME_HEADER_BYTES
        yield { op: 'store', site: 'padding length', word: this.ring.base + at, value }
      }
      yield { op: 'store', site: 'padding kind', word: this.ring.base + at + 1, value: layout.PADDING }
    }
    const at = layout.FRAMES_AT + ((tail + padding) & (capacity - 1))
    this.claimedBytes = needed
    this.claimedAt = at
    this.claimedLength = bytes
    return at + layout.FRAME_HEADER_BYTES
  }

  *commit(kind: number): Program {
    const { mutant } = this.ring
    const early = mutant === 'tail published before the frame header is written'
    const at = this.claimedAt >> 2
    if (!early) yield* this.header(at, kind)
    const tail = (this.tail + this.claimedBytes) | 0
    this.tail = tail
    this.claimedBytes = 0
    if (mutant === 'consumer bell rung before the tail is published') yield* this.#wakes.ring('commit')
    const op = mutant === 'tail stored plainly' ? 'store' : 'atomic-store'
    yield { op, site: 'commit tail', word: this.ring.base + layout.TAIL_INDEX, value: tail }
    if (early) yield* this.header(at, kind)
    if (mutant !== 'consumer bell rung before the tail is published') yield* this.#wakes.ring('commit')
  }

  *header(at: number, kind: number): Program {
    yield { op: 'store', site: `length of ${kind}`, word: this.ring.base + at, value: this.claimedLength }
    yield { op: 'store', site: `kind of ${kind}`, word: this.ring.base + at + 1, value: kind }
  }

  /** Without time-outs of its own: the explorer decides when a wait times out. */
  *waitForRoom(bytes: number): Program<boolean> {
    const needed = this.neededBytes(bytes)
    for (;;) {
      if (yield* this.hasRoom(needed, 'waitForRoom')) return true
      const ticket = yield* this.#room.prepare('waitForRoom')
      if (this.ring.mutant !== 'producer does not look again before sleeping') {
        if (yield* this.hasRoom(needed, `second look ${ticket}`)) {
          yield* this.#room.cancel('waitForRoom')
          return yield* this.hasRoom(needed, 'after cancel')
        }
      }
      yield* this.#room.wait(ticket, 'waitForRoom')
    }
  }

  neededBytes(bytes: number): number {
    const { capacity, mutant } = this.ring
    const frame = layout.frameBytes(bytes)
    if (mutant === 'frame wraps without padding') return frame
    const toEnd = capacity - (this.tail & (capacity - 1))
    return frame <= toEnd ? frame : toEnd + frame
  }

  *hasRoom(needed: number, by: string): Program<boolean> {
    const { mutant } = this.ring
    if (needed <= this.#freeBytes()) return true
    const op = mutant === 'head loaded plainly' ? 'load' : 'atomic-load'
    this.headCache = yield { op, site: `head by ${by}`, word: this.ring.base + layout.HEAD_INDEX }
    return needed <= this.#freeBytes()
  }

  #freeBytes(): number {
    const { capacity, mutant } = this.ring
    const used = (this.tail - this.headCache) | 0
    if (mutant === 'one header too much room') return capacity - used + layout.FRAME_HEADER_BYTES
    if (mutant === 'a full ring taken for empty') return capacity - (used & (capacity - 1))
    return capacity - used
  }
}

export class ModelConsumer {
  position = 0
  length = 0
  readonly ring: ModelRing
  readonly #room: ModelDoorbell
  head: number
  headPublished: number
  tailCache: number
  peekedBytes = 0

  constructor(ring: ModelRing, room: ModelDoorbell) {
    this.ring = ring
    this.#room = room
    this.head = ring.start
    this.headPublished = ring.start
    this.tailCache = ring.start
  }

  fields(): unknown {
    return [this.position, this.length, this.head, this.headPublished, this.tailCache, this.peekedBytes]
  }

  *peek(by: string): Program<number> {
    const { mutant, capacity } = this.ring
    const { head } = this
    if (head === this.tailCache) {
      const op = mutant === 'tail loaded plainly' ? 'load' : 'atomic-load'
      this.tailCache = yield { op, site: `tail by ${by}`, word: this.ring.base + layout.TAIL_INDEX }
      if (head === this.tailCache) return -1
    }
    let at = layout.FRAMES_AT + (head & (capacity - 1))
    let padding = 0
    const first = yield { op: 'load', site: `is it padding by ${by}`, word: this.ring.base + (at >> 2) + 1 }
    if (first === layout.PADDING && mutant !== 'padding not skipped') {
      const length = yield { op: 'load', site: `padding length by ${by}`, word: this.ring.base + (at >> 2) }
      padding = layout.FRAME_HEADER_BYTES + length
      at = layout.FRAMES_AT
    }
    this.position = at + layout.FRAME_HEADER_BYTES
    const length = yield {
      op: 'load',
      site: `length by ${by} behind ${padding}`,
      word: this.ring.base + (at >> 2),
    }
    this.length = length
    const released = mutant === 'padding not released' ? 0 : padding
    this.peekedBytes = released + layout.frameBytes(length)
    return yield { op: 'load', site: `kind by ${by}`, word: this.ring.base + (at >> 2) + 1 }
  }

  *release(): Program {
    const { mutant, publishBytes } = this.ring
    const head = (this.head + this.peekedBytes) | 0
    this.head = head
    this.peekedBytes = 0
    const drained = head === this.tailCache && mutant !== 'head published by the quarter only'
    if (!drained && ((head - this.headPublished) | 0) < publishBytes) return
    this.headPublished = head
    if (mutant === 'room bell rung before the head is published') yield* this.#room.ring('release')
    const op = mutant === 'head stored plainly' ? 'store' : 'atomic-store'
    yield { op, site: 'release head', word: this.ring.base + layout.HEAD_INDEX, value: head }
    if (mutant === 'room bell not rung' || mutant === 'room bell rung before the head is published') return
    yield* this.#room.ring('release')
  }
}

/** The threads' own code: push frames, blocking for room; take frames, sleeping when every ring is empty. */
export function* pushFrames(
  producer: ModelProducer,
  script: { frame: number; sizes: readonly number[] },
): Program {
  const { mutant } = producer.ring
  for (; script.frame < script.sizes.length; script.frame++) {
    const bytes = script.sizes[script.frame]!
    let at = yield* producer.claim(bytes)
    while (at < 0) {
      yield* producer.waitForRoom(bytes)
      at = yield* producer.claim(bytes)
    }
    if (mutant !== 'tail published before the payload is written')
      yield* writePayload(producer.ring.base, at, bytes, script.frame)
    yield* producer.commit(script.frame)
    if (mutant === 'tail published before the payload is written')
      yield* writePayload(producer.ring.base, at, bytes, script.frame)
  }
}

function* writePayload(base: number, at: number, bytes: number, frame: number): Program {
  for (let i = 0; i < bytes; i += 8) {
    yield {
      op: 'store',
      site: `payload ${frame} at ${i}`,
      word: base + ((at + i) >> 2),
      value: payloadWord(frame, i),
    }
  }
}

export function payloadWord(frame: number, at: number): number {
  return 1000 + frame * 100 + at
}

export interface TakeScript {
  /** Frames taken so far, a ring each. */
  taken: number[]
  sizes: readonly (readonly number[])[]
  ring: number
  /** Which look at the rings it is on. */
  look: string
}

/** One bell for all rings, drained in a fixed order: the way a thread consumes from several producers. */
export function* takeFrames(
  consumers: readonly ModelConsumer[],
  bell: ModelDoorbell,
  script: TakeScript,
  mutant: Mutant | null,
): Program {
  while (script.taken.some((taken, ring) => taken < script.sizes[ring]!.length)) {
    if (yield* drain(consumers, script, 'first look', mutant)) continue
    let ticket = 0
    if (mutant === 'consumer does not look again before sleeping') ticket = yield* bell.prepare('consumer')
    else if (mutant === 'consumer looks again before it announces') {
      if (yield* drain(consumers, script, 'second look', mutant)) continue
      ticket = yield* bell.prepare('consumer')
    } else {
      ticket = yield* bell.prepare('consumer')
      if (yield* drain(consumers, script, `second look ${ticket}`, mutant)) {
        yield* bell.cancel('consumer')
        continue
      }
    }
    yield* bell.wait(ticket, 'consumer')
  }
}

/** Takes one frame from each ring that has one. True: there was one. */
function* drain(
  consumers: readonly ModelConsumer[],
  script: TakeScript,
  by: string,
  mutant: Mutant | null,
): Program<boolean> {
  let found = 0
  script.look = by
  for (script.ring = 0; script.ring < consumers.length; script.ring++) {
    const consumer = consumers[script.ring]!
    const site = `found ${found}`
    const kind = yield* consumer.peek(site)
    if (kind < 0) continue
    found = 1
    const frame = script.taken[script.ring]!
    const bytes = script.sizes[script.ring]![frame]
    guarantee(kind === frame, 'frames arrive once and in order', kind, frame)
    guarantee(consumer.length === bytes, 'a frame arrives with its length', consumer.length, bytes)
    const early = mutant === 'head published before the payload is read'
    if (early) yield* consumer.release()
    for (let i = 0; i < consumer.length; i += 8) {
      const word = consumer.ring.base + ((consumer.position + i) >> 2)
      const value = yield { op: 'load', site: `payload at ${i}, ${site}`, word }
      guarantee(value === payloadWord(frame, i), 'a payload arrives whole', value, payloadWord(frame, i))
    }
    if (!early) yield* consumer.release()
    script.taken[script.ring] = frame + 1
  }
  script.ring = 0
  script.look = ''
  return found > 0
}
