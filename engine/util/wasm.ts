/**
 * Writes small WebAssembly modules from instructions listed in TypeScript: just what hot loops over numbers need, so that
 * they are built at load and need no other tool. Pure. Instructions and the binary format: WebAssembly Core
 * Specification 2.0, chapter 5.
 */
export type Code = readonly number[]
export type ValueType = typeof I32 | typeof F64

export const I32 = 0x7f
export const F64 = 0x7c
/** Bytes a memory grows by. */
export const WASM_PAGE_BYTES = 65_536

export interface WasmFunction {
  /** It is exported by this name. */
  readonly name: string
  /** Locals 0, 1 … */
  readonly params: readonly ValueType[]
  readonly result: ValueType
  /** Locals after the params; 0 at first. */
  readonly locals: readonly ValueType[]
  readonly body: readonly Code[]
}

/** The part of the WebAssembly API that is used here. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer
  grow(pages: number): number
}

interface WasmApi {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (
    module: object,
    imports: { readonly host: { readonly memory: WasmMemory } },
  ) => { readonly exports: Readonly<Record<string, (...numbers: number[]) => number>> }
  readonly Memory: new (limits: { initial: number; maximum: number; shared: true }) => WasmMemory
}

const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: WasmApi }

/** A module that works on one shared memory. Shared, so that growing it leaves older views as they are. */
export function compileWasm(functions: readonly WasmFunction[], pagesMin: number, pagesMax: number): object {
  const types = functions.map(({ params, result }) => [
    0x60,
    ...listOf(params.map((type) => [type])),
    1,
    result,
  ])
  const limits = [0x03, ...unsigned(pagesMin), ...unsigned(pagesMax)]
  const memory = [...nameOf('host'), ...nameOf('memory'), 0x02, ...limits]
  const names = functions.map(({ name }, i) => [...nameOf(name), 0x00, ...unsigned(i)])
  const bodies = functions.map(({ locals, body }) => {
    const code = [...listOf(locals.map((type) => [1, type])), ...body.flat(), 0x0b]
    return [...unsigned(code.length), ...code]
  })
  const bytes = [
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    section(1, listOf(types)),
    section(2, listOf([memory])),
    section(3, listOf(functions.map((_, i) => unsigned(i)))),
    section(7, listOf(names)),
    section(10, listOf(bodies)),
  ]
  return new WebAssembly.Module(Uint8Array.from(bytes.flat()))
}

/** Throws a RangeError where the process has no room for it. */
export function openWasmMemory(pagesMin: number, pagesMax: number): WasmMemory {
  return new WebAssembly.Memory({ initial: pagesMin, maximum: pagesMax, shared: true })
}

export function runWasm(
  module: object,
  memory: WasmMemory,
): Readonly<Record<string, (...numbers: number[]) => number>> {
  return new WebAssembly.Instance(module, { host: { memory } }).exports
}

// ---- instructions ----------------------------------------------------------------------------------------------

export const block = (...body: readonly Code[]): Code => [0x02, 0x40, ...body.flat(), 0x0b]
export const loop = (...body: readonly Code[]): Code => [0x03, 0x40, ...body.flat(), 0x0b]
/** Takes the condition from the stack. */
export const when = (then: readonly Code[], otherwise: readonly Code[] = []): Code => [
  0x04,
  0x40,
  ...then.flat(),
  ...(otherwise.length === 0 ? [] : [0x05, ...otherwise.flat()]),
  0x0b,
]
/** To the end of the block, or the start of the loop, that many levels out. */
export const branch = (levels: number): Code => [0x0c, ...unsigned(levels)]
export const branchIf = (levels: number): Code => [0x0d, ...unsigned(levels)]
export const get = (local: number): Code => [0x20, ...unsigned(local)]
export const set = (local: number): Code => [0x21, ...unsigned(local)]
export const tee = (local: number): Code => [0x22, ...unsigned(local)]
export const i32 = (value: number): Code => [0x41, ...signed(value)]
export const f64 = (value: number): Code => [0x44, ...new Uint8Array(Float64Array.of(value).buffer)]
/** The address is on the stack; `offset` bytes are added to it. */
export const loadI32 = (offset = 0): Code => [0x28, 2, ...unsigned(offset)]
export const loadF64 = (offset = 0): Code => [0x2b, 3, ...unsigned(offset)]
export const storeI32 = (offset = 0): Code => [0x36, 2, ...unsigned(offset)]
export const storeF64 = (offset = 0): Code => [0x39, 3, ...unsigned(offset)]
export const I32_LESS_UNSIGNED: Code = [0x49]
export const I32_LESS_OR_EQUAL: Code = [0x4c]
export const I32_NOT_LESS: Code = [0x4e]
export const I32_NOT_LESS_UNSIGNED: Code = [0x4f]
export const I32_ADD: Code = [0x6a]
export const I32_SHIFT_LEFT: Code = [0x74]
export const F64_EQUAL: Code = [0x61]
export const F64_UNEQUAL: Code = [0x62]
export const F64_LESS: Code = [0x63]
export const F64_GREATER: Code = [0x64]
export const F64_ADD: Code = [0xa0]
export const F64_SUBTRACT: Code = [0xa1]
export const F64_MULTIPLY: Code = [0xa2]
export const F64_DIVIDE: Code = [0xa3]
export const F64_MAX: Code = [0xa5]

// ---- encoding --------------------------------------------------------------------------------------------------

function section(id: number, body: Code): Code {
  return [id, ...unsigned(body.length), ...body]
}

function listOf(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()]
}

function nameOf(text: string): Code {
  return listOf([...text].map((letter) => [letter.charCodeAt(0)]))
}

/** LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = []
  let rest = value >>> 0
  do {
    const low = rest & 0x7f
    rest >>>= 7
    bytes.push(rest === 0 ? low : low | 0x80)
  } while (rest !== 0)
  return bytes
}

function signed(value: number): number[] {
  const bytes: number[] = []
  let rest = value | 0
  for (;;) {
    const low = rest & 0x7f
    rest >>= 7
    const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)
    bytes.push(isLast ? low : low | 0x80)
    if (isLast) return bytes
  }
}
