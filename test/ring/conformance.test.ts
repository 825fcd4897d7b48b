/**
 * The explorer proves the model; this ties the code to it: over random scripts, engine/ring and the model make the same
 * shared accesses, with the same values, in the same order. The order of stores in the code is thereby proven too.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createDoorbell, Doorbell } from '../../engine/ring/doorbell.ts'
import * as layout from '../../engine/ring/layout.ts'
import { createRing, RingConsumer, RingProducer } from '../../engine/ring/spsc-ring.ts'
import type { Access } from './access.ts'
import { ModelConsumer, ModelDoorbell, ModelProducer } from './model.ts'
import { runAlone } from './thread-table.ts'

const RealInt32Array = Int32Array
const RealAtomics = Atomics
const WAKES = 1 << 20
const ROOM = WAKES + 1

let trace: string[] = []
const bases = new Map<ArrayBufferLike, number>()
const watched = new WeakMap<object, { view: Int32Array; base: number }>()

/** An Int32Array that notes every element read and written. */
function WatchedInt32Array(buffer: SharedArrayBuffer): Int32Array {
  const view = new RealInt32Array(buffer)
  const base = bases.get(buffer) ?? 0
  const proxy = new Proxy(view, {
    get(target, key) {
      const index = typeof key === 'string' ? Number(key) : Number.NaN
      if (!Number.isInteger(index)) return Reflect.get(target, key, target)
      trace.push(`load ${base + index}`)
      return target[index]
    },
    set(target, key, value: number) {
      trace.push(`store ${base + Number(key)} ${value}`)
      target[Number(key)] = value
      return true
    },
  })
  watched.set(proxy, { view, base })
  return proxy
}

function note(array: Int32Array, index: number, op: string, ...values: number[]): Int32Array {
  const { view, base } = watched.get(array)!
  trace.push([op, base + index, ...values].join(' '))
  return view
}

const watchedAtomics = {
  load: (a: Int32Array, i: number) => RealAtomics.load(note(a, i, 'atomic-load'), i),
  store: (a: Int32Array, i: number, v: number) => RealAtomics.store(note(a, i, 'atomic-store', v), i, v),
  or: (a: Int32Array, i: number, v: number) => RealAtomics.or(note(a, i, 'or', v), i, v),
  and: (a: Int32Array, i: number, v: number) => RealAtomics.and(note(a, i, 'and', v), i, v),
  compareExchange: (a: Int32Array, i: number, e: number, v: number) =>
    RealAtomics.compareExchange(note(a, i, 'compare-exchange', e, v), i, e, v),
  notify: (a: Int32Array, i: number, n: number) => RealAtomics.notify(note(a, i, 'notify'), i, n),
}

function textOf(access: Access): string {
  if (access.op === 'compare-exchange')
    return `${access.op} ${access.word} ${access.expected} ${access.value}`
  return 'value' in access ? `${access.op} ${access.word} ${access.value}` : `${access.op} ${access.word}`
}

beforeEach(() => {
  vi.stubGlobal('Atomics', watchedAtomics)
})
afterEach(() => {
  vi.unstubAllGlobals()
  bases.clear()
})

function realEnds(capacity: number, start: number) {
  const ring = createRing(capacity)
  const plain = new RealInt32Array(ring)
  plain[layout.TAIL_INDEX] = start
  plain[layout.HEAD_INDEX] = start
  const wakesBuffer = createDoorbell()
  const roomBuffer = createDoorbell()
  bases.set(wakesBuffer, WAKES).set(roomBuffer, ROOM)
  vi.stubGlobal('Int32Array', WatchedInt32Array)
  const wakes = new Doorbell(wakesBuffer)
  const room = new Doorbell(roomBuffer)
  const producer = new RingProducer(ring, wakes, room)
  const consumer = new RingConsumer(ring, room)
  vi.stubGlobal('Int32Array', RealInt32Array)
  trace = []
  return { producer, consumer, wakes, room }
}

function modelEnds(capacity: number, start: number) {
  const ring = { base: 0, capacity, publishBytes: capacity / 4, start, mutant: null }
  const wakes = new ModelDoorbell(WAKES)
  const room = new ModelDoorbell(ROOM)
  const words = new Map([
    [layout.TAIL_INDEX, start],
    [layout.HEAD_INDEX, start],
  ])
  return {
    producer: new ModelProducer(ring, wakes, room),
    consumer: new ModelConsumer(ring, room),
    wakes,
    room,
    words,
  }
}

const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ push: fc.integer({ min: 0, max: 60 }) }) },
  { weight: 4, arbitrary: fc.constant('take' as const) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('consumer prepares', 'producer prepares', 'consumer cancels' as const),
  },
)

describe('model and code', () => {
  test('make the same shared accesses in the same order', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(64, 128),
        fc.integer({ min: 0, max: 16 }).map((units) => (2 ** 31 - units * 8) | 0),
        fc.array(command, { maxLength: 80 }),
        (capacity, start, commands) => {
          const real = realEnds(capacity, start)
          const model = modelEnds(capacity, start)
          const expected: Access[] = []
          let kind = 0
          for (const step of commands) {
            if (typeof step === 'object') {
              const bytes = Math.min(step.push, real.producer.frameBytesMax)
              const at = real.producer.claim(bytes)
              expect(runAlone(model.producer.claim(bytes), model.words, expected)).toBe(at)
              if (at < 0) continue
              real.producer.commit(++kind)
              runAlone(model.producer.commit(kind), model.words, expected)
            } else if (step === 'take') {
              const found = real.consumer.peek()
              expect(runAlone(model.consumer.peek('test'), model.words, expected)).toBe(found)
              if (found < 0) continue
              expect(model.consumer.position).toBe(real.consumer.position)
              real.consumer.release()
              runAlone(model.consumer.release(), model.words, expected)
            } else if (step === 'consumer cancels') {
              real.wakes.cancel()
              runAlone(model.wakes.cancel('test'), model.words, expected)
            } else {
              const bell = step === 'consumer prepares' ? 'wakes' : 'room'
              const ticket = real[bell].prepare()
              expect(runAlone(model[bell].prepare('test'), model.words, expected)).toBe(ticket)
            }
          }
          expect(trace).toEqual(expected.map(textOf))
        },
      ),
    )
  })

  test('a commit writes the frame, then publishes, then looks for a sleeper', () => {
    const { producer } = realEnds(64, 0)
    const at = producer.claim(8)
    producer.i32[at >> 2] = 42
    producer.commit(5)
    const header = (at - layout.FRAME_HEADER_BYTES) >> 2
    expect(trace).toEqual([
      `store ${at >> 2} 42`,
      `store ${header} 8`,
      `store ${header + 1} 5`,
      `atomic-store ${layout.TAIL_INDEX} 16`,
      `atomic-load ${WAKES}`,
    ])
  })
})
