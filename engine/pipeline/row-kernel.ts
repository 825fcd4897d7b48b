/**
 * The loop that adds ordinary samples to rows, as WebAssembly made for the accumulators of one plan, and the memory it
 * works on. Two to three times as fast as the same loop in JavaScript, which pays for bounds checks and address
 * arithmetic over arrays that V8 cannot know (docs/decisions/windows.md).
 *
 * Guarantee: the cells are those that the accumulators' `add` gives, bit by bit: the same operations on the same numbers
 * in the same order. So whether a chain has a kernel, and from when on, shows in no result and no checkpoint.
 *
 *     0           values of a chunk of samples, copied from the record batch
 *     IDS_AT      their series ids
 *     PLACED_AT   cell of each one's row
 *     ROUTES_AT   routes by series id
 *     CELLS_AT    window cells, to the end of the memory: they grow in place
 *
 * Pages that were never written to take address space and no memory.
 */
import type { Accumulator } from '../contract/plugins.ts'
import type { SampleView } from '../contract/samples.ts'
import { SERIES_LIMIT_MAX } from '../series/series-table.ts'
import { assert } from '../util/assert.ts'
import * as wasm from '../util/wasm.ts'
import type { RowLayout } from './row-layout.ts'
import { WINDOW_CELLS_MAX } from './slices.ts'

const CHUNK_SAMPLES = 1_024
/** Samples placed before they are added: as many as the first-level cache holds rows of 64 bytes of. */
const PLACED_CHUNK_SAMPLES = 256
const VALUES_AT = 0
const IDS_AT = VALUES_AT + CHUNK_SAMPLES * 8
const PLACED_AT = IDS_AT + CHUNK_SAMPLES * 4
const FETCHED_AT = PLACED_AT + CHUNK_SAMPLES * 4
const ROUTES_AT = wasm.WASM_PAGE_BYTES
const CELLS_AT = ROUTES_AT + SERIES_LIMIT_MAX * 4
const PAGES_MIN = CELLS_AT / wasm.WASM_PAGE_BYTES
const PAGES_MAX = (CELLS_AT + WINDOW_CELLS_MAX * 8) / wasm.WASM_PAGE_BYTES

/** Compiled once a thread: by kinds of accumulators and width of a row. */
const modules = new Map<string, object>()

/** The first `count` of `at` are the cells at which rows begin. */
export type WillWrite = (at: Int32Array, count: number) => void
type Add = (count: number, known: number, base: number) => number

export class RowKernel {
  readonly #memory: wasm.WasmMemory
  readonly #values: Float64Array
  readonly #ids: Int32Array
  readonly #placed: Int32Array
  readonly #add: Add
  readonly #place: Add
  readonly #addPlaced: (count: number) => number
  /** Routes that lie in the memory. */
  #known = 0
  #hasCells = true

  constructor(module: object, memory: wasm.WasmMemory) {
    this.#memory = memory
    this.#values = new Float64Array(memory.buffer, VALUES_AT, CHUNK_SAMPLES)
    this.#ids = new Int32Array(memory.buffer, IDS_AT, CHUNK_SAMPLES)
    this.#placed = new Int32Array(memory.buffer, PLACED_AT, CHUNK_SAMPLES)
    const { add, place, addPlaced } = wasm.runWasm(module, memory)
    assert(add !== undefined && place !== undefined && addPlaced !== undefined, 'a kernel is whole')
    this.#add = add
    this.#place = place
    this.#addPlaced = addPlaced
  }

  /** Room for routes: what they hold now, then zeros. An array of its own where there is none: then nothing is taken any more. */
  growRoutes(routes: Int32Array, length: number): Int32Array {
    const fits = length <= SERIES_LIMIT_MAX
    const grown = fits ? new Int32Array(this.#memory.buffer, ROUTES_AT, length) : new Int32Array(length)
    if (routes.byteOffset !== ROUTES_AT || !fits) grown.set(routes)
    this.#known = fits ? length : 0
    return grown
  }

  /** As `growRoutes`, for window cells. */
  growCells(cells: Float64Array, length: number): Float64Array {
    this.#hasCells &&= this.#makeRoom(length)
    if (!this.#hasCells) {
      const moved = new Float64Array(length)
      moved.set(cells)
      return moved
    }
    const grown = new Float64Array(this.#memory.buffer, CELLS_AT, length)
    if (cells.byteOffset !== CELLS_AT) grown.set(cells)
    return grown
  }

  #makeRoom(length: number): boolean {
    const missing = CELLS_AT + length * 8 - this.#memory.buffer.byteLength
    if (missing <= 0) return true
    try {
      this.#memory.grow(Math.ceil(missing / wasm.WASM_PAGE_BYTES))
      return true
    } catch (error) {
      // The system has no room: cells grow elsewhere, and JavaScript adds to them.
      if (error instanceof RangeError) return false
      throw error
    }
  }

  /**
   * Adds samples from `from` on, up to the first that is not ordinary: a series id beyond the routes, a route of 0 or less, a value
   * that is not finite. Returns which, or the view's count. Sample i's row is at cell `base + (its route << strideShift)`.
   * `willWrite`: is told of rows before they are added to, of a few hundred samples at a time. They are fetched then, too, so
   * that cache misses overlap.
   */
  add(view: SampleView, from: number, base: number, willWrite: WillWrite | null): number {
    if (!this.#hasCells || this.#known === 0) return from
    const values = this.#values
    const ids = this.#ids
    const end = view.count
    const known = this.#known
    let i = from
    while (i < end) {
      const count = Math.min(end - i, willWrite === null ? CHUNK_SAMPLES : PLACED_CHUNK_SAMPLES)
      values.set(view.values.subarray(view.valuesAt + i, view.valuesAt + i + count))
      ids.set(view.seriesIds.subarray(view.seriesIdsAt + i, view.seriesIdsAt + i + count))
      let taken: number
      if (willWrite !== null) {
        taken = this.#place(count, known, base)
        willWrite(this.#placed, taken)
        this.#addPlaced(taken)
      } else taken = this.#add(count, known, base)
      i += taken
      if (taken < count) break
    }
    return i
  }
}

/** Null: an accumulator has no instructions, or the process has no room. */
export function openRowKernel(layout: RowLayout): RowKernel | null {
  const module = moduleOf(layout)
  if (module === null) return null
  try {
    return new RowKernel(module, wasm.openWasmMemory(PAGES_MIN, PAGES_MAX))
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

function moduleOf({ accumulators, lanes, stride }: RowLayout): object | null {
  const name = `${accumulators.map(({ kind }) => kind).join('+')}/${stride}`
  let module = modules.get(name)
  if (module === undefined) {
    const update = updateOf(accumulators, lanes)
    if (update === null) return null
    const strideShift = 31 - Math.clz32(stride)
    const functions = [
      addFunction(update, strideShift),
      placeFunction(strideShift),
      addPlacedFunction(update),
    ]
    module = wasm.compileWasm(functions, PAGES_MIN, PAGES_MAX)
    modules.set(name, module)
  }
  return module
}

// ---- code ------------------------------------------------------------------------------------------------------

// Locals of all three functions.
const COUNT = 0
const KNOWN = 1
const BASE = 2
const I = 3
const ROUTE = 4
const CELL = 5
const VALUE = 6
const FIRST_SCRATCH = 7
const SCRATCH = [FIRST_SCRATCH, FIRST_SCRATCH + 1] as const
const PARAMS: readonly wasm.ValueType[] = [wasm.I32, wasm.I32, wasm.I32]
const LOCALS: readonly wasm.ValueType[] = [wasm.I32, wasm.I32, wasm.I32, wasm.F64, wasm.F64, wasm.F64]

function updateOf(accumulators: readonly Accumulator[], lanes: readonly number[]): wasm.Code[] | null {
  const codes: wasm.Code[] = []
  for (const [k, accumulator] of accumulators.entries()) {
    if (accumulator.instructions === undefined) return null
    const offset = CELLS_AT + lanes[k]! * 8
    codes.push(...accumulator.instructions({ cell: CELL, offset, value: VALUE, scratch: SCRATCH }))
  }
  return codes
}

/** For each sample, while it is ordinary: its row's cell in CELL, its value in VALUE, then `body`. Returns how many. */
function ordinaryLoop(
  name: string,
  strideShift: number,
  body: readonly wasm.Code[],
  end: readonly wasm.Code[],
): wasm.WasmFunction {
  const leave = wasm.branchIf(1)
  const index = (shift: number): wasm.Code => [...wasm.get(I), ...wasm.i32(shift), ...wasm.I32_SHIFT_LEFT]
  return {
    name,
    params: PARAMS,
    result: wasm.I32,
    locals: LOCALS,
    body: [
      wasm.block(
        wasm.loop(
          [...wasm.get(I), ...wasm.get(COUNT), ...wasm.I32_NOT_LESS, ...leave],
          [...index(2), ...wasm.loadI32(IDS_AT), ...wasm.tee(ROUTE)],
          [...wasm.get(KNOWN), ...wasm.I32_NOT_LESS_UNSIGNED, ...leave],
          [...wasm.get(ROUTE), ...wasm.i32(2), ...wasm.I32_SHIFT_LEFT, ...wasm.loadI32(ROUTES_AT)],
          [...wasm.tee(ROUTE), ...wasm.i32(0), ...wasm.I32_LESS_OR_EQUAL, ...leave],
          [...index(3), ...wasm.loadF64(VALUES_AT), ...wasm.tee(VALUE)],
          // Finite less itself is 0; an infinity or NaN gives NaN.
          [...wasm.get(VALUE), ...wasm.F64_SUBTRACT, ...wasm.f64(0), ...wasm.F64_UNEQUAL, ...leave],
          [...wasm.get(BASE), ...wasm.get(ROUTE), ...wasm.i32(strideShift), ...wasm.I32_SHIFT_LEFT],
          [...wasm.I32_ADD, ...wasm.set(CELL)],
          ...body,
          [...wasm.get(I), ...wasm.i32(1), ...wasm.I32_ADD, ...wasm.set(I), ...wasm.branch(0)],
        ),
      ),
      ...end,
      wasm.get(I),
    ],
  }
}

/** CELL becomes its address, less CELLS_AT. */
const TO_ADDRESS: wasm.Code = [...wasm.get(CELL), ...wasm.i32(3), ...wasm.I32_SHIFT_LEFT, ...wasm.set(CELL)]

function addFunction(update: readonly wasm.Code[], strideShift: number): wasm.WasmFunction {
  return ordinaryLoop('add', strideShift, [TO_ADDRESS, ...update], [])
}

/** Keeps each row's cell, and loads one of the row: the sum of them is stored, so that no load is left out. */
function placeFunction(strideShift: number): wasm.WasmFunction {
  const [sum] = SCRATCH
  const body: wasm.Code[] = [
    [...wasm.get(I), ...wasm.i32(2), ...wasm.I32_SHIFT_LEFT, ...wasm.get(CELL), ...wasm.storeI32(PLACED_AT)],
    TO_ADDRESS,
    [...wasm.get(sum), ...wasm.get(CELL), ...wasm.loadF64(CELLS_AT), ...wasm.F64_ADD, ...wasm.set(sum)],
  ]
  const end = [[...wasm.i32(0), ...wasm.get(sum), ...wasm.storeF64(FETCHED_AT)]]
  return ordinaryLoop('place', strideShift, body, end)
}

function addPlacedFunction(update: readonly wasm.Code[]): wasm.WasmFunction {
  const index = (shift: number): wasm.Code => [...wasm.get(I), ...wasm.i32(shift), ...wasm.I32_SHIFT_LEFT]
  return {
    name: 'addPlaced',
    params: PARAMS.slice(0, 1),
    result: wasm.I32,
    // The same numbers as elsewhere: KNOWN and BASE are not used.
    locals: [wasm.I32, wasm.I32, ...LOCALS],
    body: [
      wasm.block(
        wasm.loop(
          [...wasm.get(I), ...wasm.get(COUNT), ...wasm.I32_NOT_LESS, ...wasm.branchIf(1)],
          [...index(2), ...wasm.loadI32(PLACED_AT), ...wasm.set(CELL)],
          [...index(3), ...wasm.loadF64(VALUES_AT), ...wasm.set(VALUE)],
          TO_ADDRESS,
          ...update,
          [...wasm.get(I), ...wasm.i32(1), ...wasm.I32_ADD, ...wasm.set(I), ...wasm.branch(0)],
        ),
      ),
      wasm.get(I),
    ],
  }
}
