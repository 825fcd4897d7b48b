/**
 * Options of plug-ins: one declared table gives parsing, typed results, faults with a remedy, help and docs.
 *
 *     const options = optionSpec({
 *       threshold: { type: number({ above: 0 }), default: 6, meaning: 'band edge, in standard deviations' },
 *       history: { type: duration({ minMs: 1 }), default: '1h', meaning: 'how far back the expected value looks' },
 *     })
 *     type Options = OptionsOf<typeof options>        // { threshold: number; historyMs: number }
 *     type Written = OptionInputOf<typeof options>    // { threshold?: number; history?: string | number }
 *
 * A duration `x` parses to `xMs`, a size `x` to `xBytes`. An option without `default` and without `optional: true` must
 * be given. `parse` never throws on what a person wrote; it collects every fault. Used by all plug-ins; no I/O.
 */
import * as v from 'valibot'
import type { Fault } from '../contract/errors.ts'
import type { OptionHelp, OptionSpec } from '../contract/plugins.ts'
import { assert } from '../util/assert.ts'
import { knownRemedy } from './did-you-mean.ts'
import {
  BYTES_ALLOWED,
  DURATION_ALLOWED,
  durationText,
  type Reading,
  readBytes,
  readDurationMs,
} from './units.ts'

export { durationMs, durationText } from './units.ts'

export type Unit = '' | 'Ms' | 'Bytes'

/** What one option may be. `In` is what a person writes, `Out` what the plug-in gets. */
export interface OptionType<In, Out, U extends Unit = ''> {
  /** For help: `duration`. */
  readonly text: string
  /** For remedies: `a duration such as "5s"`. */
  readonly allowed: string
  readonly unit: U
  readonly schema: v.GenericSchema<unknown, Out>
  /** Only for the type checker. */
  readonly written?: In
}

export interface OptionField {
  readonly type: OptionType<unknown, unknown, Unit>
  /** As a person would write it; checked when the spec is made. */
  readonly default?: unknown
  /** May be left out, and is then undefined. */
  readonly optional?: true
  readonly meaning: string
}

export type OptionFields = Readonly<Record<string, OptionField>>

type InOf<F extends OptionField> = F['type'] extends OptionType<infer In, unknown, Unit> ? In : never
type OutOf<F extends OptionField> =
  | (F['type'] extends OptionType<unknown, infer Out, Unit> ? Out : never)
  | (F extends { optional: true } ? undefined : never)
type UnitOf<F extends OptionField> = F['type']['unit']
type FreeKeys<F extends OptionFields> = {
  [K in keyof F]: F[K] extends { optional: true } ? K : 'default' extends keyof F[K] ? K : never
}[keyof F]

export type Parsed<F extends OptionFields> = {
  readonly [K in keyof F & string as `${K}${UnitOf<F[K]>}`]: OutOf<F[K]>
}
export type Written<F extends OptionFields> = Flat<
  { readonly [K in Exclude<keyof F, FreeKeys<F>>]: InOf<F[K]> } & {
    readonly [K in FreeKeys<F>]?: InOf<F[K]> | undefined
  }
>
type Flat<T> = { readonly [K in keyof T]: T[K] }

export interface FieldSpec<F extends OptionFields> extends OptionSpec<Parsed<F>> {
  readonly fields: F
}
/** What the plug-in gets. */
export type OptionsOf<S> = S extends FieldSpec<infer F> ? Parsed<F> : never
/** What a person writes. */
export type OptionInputOf<S> = S extends FieldSpec<infer F> ? Written<F> : never

/**
 * Declares a plug-in's options. `check` sees options that are each fine by themselves and adds faults about how they
 * go together, at `${place}.option`.
 */
export function optionSpec<const F extends OptionFields>(
  fields: F,
  check?: (options: Parsed<F>, place: string, faults: Fault[]) => void,
): FieldSpec<F> {
  const help = Object.entries(fields).map(([name, field]) => helpOf(name, field))
  const spec: FieldSpec<F> = {
    fields,
    help,
    parse(input, place, faults) {
      const before = faults.length
      const options = parseFields(fields, input, place, faults)
      if (options === undefined || faults.length > before) return undefined
      const parsed = options as Parsed<F>
      check?.(parsed, place, faults)
      return faults.length > before ? undefined : parsed
    },
  }
  for (const [name, field] of Object.entries(fields)) {
    if (field.default === undefined) continue
    const fit = v.safeParse(field.type.schema, field.default)
    assert(fit.success, 'the default of an option is allowed', name, field.default)
  }
  return spec
}

/** A plug-in without options. */
export const noOptions = optionSpec({})

function helpOf(name: string, field: OptionField): OptionHelp {
  const { type, meaning } = field
  if (field.default === undefined) return { name, type: type.text, meaning }
  return {
    name,
    type: type.text,
    default: typeof field.default === 'string' ? field.default : JSON.stringify(field.default),
    meaning,
  }
}

function parseFields(
  fields: OptionFields,
  input: unknown,
  place: string,
  faults: Fault[],
): Record<string, unknown> | undefined {
  const names = Object.keys(fields)
  if (input !== undefined && (typeof input !== 'object' || input === null || Array.isArray(input))) {
    const remedy = names.length === 0 ? 'It takes no options.' : `Write an object with ${names.join(', ')}.`
    faults.push({ place, value: input, problem: 'is not an object of options', remedy })
    return undefined
  }
  const written: Readonly<Record<string, unknown>> = { ...input }
  for (const [name, value] of Object.entries(written)) {
    if (Object.hasOwn(fields, name)) continue
    const remedy = names.length === 0 ? 'It takes no options.' : knownRemedy(name, names)
    faults.push({ place: `${place}.${name}`, value, problem: 'is no known option', remedy })
  }
  const options: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) {
    const value = written[name] === undefined ? field.default : written[name]
    options[`${name}${field.type.unit}`] =
      value === undefined
        ? absent(name, field, place, faults)
        : parseValue(field.type, value, `${place}.${name}`, faults)
  }
  return options
}

function absent(name: string, field: OptionField, place: string, faults: Fault[]): undefined {
  if (field.optional === true) return
  const remedy = `Write ${field.type.allowed}: ${field.meaning}.`
  faults.push({ place: `${place}.${name}`, value: undefined, problem: 'is missing', remedy })
}

/** One value of one type, or undefined and a fault. */
export function parseValue<Out>(
  type: OptionType<unknown, Out, Unit>,
  value: unknown,
  place: string,
  faults: Fault[],
): Out | undefined {
  const result = v.safeParse(type.schema, value)
  if (result.success) return result.output
  for (const issue of result.issues) {
    faults.push({ place, value, problem: issue.message, remedy: `Write ${type.allowed}.` })
  }
  return undefined
}

// ---- types of options ------------------------------------------------------------------------------------------

export interface NumberLimits {
  readonly min?: number
  readonly max?: number
  /** Exclusive. */
  readonly above?: number
  /** Exclusive. */
  readonly below?: number
}

export function number(limits: NumberLimits = {}): OptionType<number, number> {
  return numeric('number', limits, v.pipe(v.number('is not a number'), v.finite('is not finite')))
}

export function integer(limits: NumberLimits = {}): OptionType<number, number> {
  return numeric(
    'whole number',
    limits,
    v.pipe(v.number('is not a number'), v.safeInteger('is not a whole number')),
  )
}

function numeric(
  what: string,
  limits: NumberLimits,
  base: v.GenericSchema<number>,
): OptionType<number, number> {
  const { min, max, above, below } = limits
  const bounds: string[] = []
  if (above !== undefined) bounds.push(`above ${above}`)
  if (min !== undefined && max !== undefined) bounds.push(`from ${min} to ${max}`)
  else if (min !== undefined) bounds.push(`at least ${min}`)
  if (below !== undefined) bounds.push(`below ${below}`)
  if (max !== undefined && min === undefined) bounds.push(`at most ${max}`)
  const text = [what, bounds.join(' and ')].filter((part) => part !== '').join(' ')
  const inside = (value: number): boolean =>
    !(value < (min ?? value)) &&
    !(value > (max ?? value)) &&
    !(above !== undefined && value <= above) &&
    !(below !== undefined && value >= below)
  const schema = v.pipe(base, v.check(inside, 'is out of bounds'))
  return { text, allowed: `a ${text}`, unit: '', schema: schema as v.GenericSchema<unknown, number> }
}

export interface DurationLimits {
  readonly minMs?: number
  readonly maxMs?: number
}

export function duration(limits: DurationLimits = {}): OptionType<string | number, number, 'Ms'> {
  const { minMs = 0, maxMs = Number.POSITIVE_INFINITY } = limits
  const schema = v.pipe(
    reading(readDurationMs),
    v.check((ms) => ms >= minMs, `is shorter than ${durationText(minMs)}`),
    v.check((ms) => ms <= maxMs, `is longer than ${durationText(maxMs)}`),
  )
  return { text: 'duration', allowed: DURATION_ALLOWED, unit: 'Ms', schema }
}

export interface BytesLimits {
  readonly minBytes?: number
  readonly maxBytes?: number
  readonly powerOfTwo?: boolean
}

export function bytes(limits: BytesLimits = {}): OptionType<string | number, number, 'Bytes'> {
  const { minBytes = 0, maxBytes = Number.MAX_SAFE_INTEGER, powerOfTwo = false } = limits
  const schema = v.pipe(
    reading(readBytes),
    v.check((size) => size >= minBytes, `is less than ${minBytes} bytes`),
    v.check((size) => size <= maxBytes, `is more than ${maxBytes} bytes`),
    v.check((size) => !powerOfTwo || Number.isInteger(Math.log2(size)), 'is not a power of two'),
  )
  const allowed = powerOfTwo ? 'a size that is a power of two, such as "16MiB"' : BYTES_ALLOWED
  return { text: powerOfTwo ? 'size, a power of two' : 'size', allowed, unit: 'Bytes', schema }
}

function reading(read: (value: unknown) => Reading): v.GenericSchema<unknown, number> {
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const result = read(dataset.value)
      if ('value' in result) return result.value
      addIssue({ message: result.problem })
      return NEVER
    }),
  )
}

export interface TextLimits {
  readonly pattern?: RegExp
  readonly lengthMax?: number
  /** For remedies, with an article: `a name of letters, digits, "-" and "_"`. */
  readonly allowed?: string
}

export function text(limits: TextLimits = {}): OptionType<string, string> {
  const { pattern = /\S/, lengthMax = 4_096, allowed = 'a text that is not empty' } = limits
  const schema = v.pipe(
    v.string('is not a text'),
    v.maxLength(lengthMax, `is longer than ${lengthMax} characters`),
    v.check((value) => pattern.test(value), limits.pattern === undefined ? 'is empty' : 'is not allowed'),
  )
  return { text: 'text', allowed, unit: '', schema: schema as v.GenericSchema<unknown, string> }
}

export function flag(): OptionType<boolean, boolean> {
  const schema = v.boolean('is neither true nor false') as v.GenericSchema<unknown, boolean>
  return { text: 'true or false', allowed: 'true or false', unit: '', schema }
}

export function oneOf<const T extends string>(...choices: readonly T[]): OptionType<T, T> {
  const list = choices.map((choice) => JSON.stringify(choice)).join(', ')
  const schema = v.picklist(choices, 'is not one of the choices') as v.GenericSchema<unknown, T>
  return { text: list, allowed: `one of ${list}`, unit: '', schema }
}

export function url(...protocols: readonly string[]): OptionType<string, string> {
  const allowed = `a URL that starts with ${protocols.map((protocol) => `${protocol}://`).join(' or ')}`
  const fits = (value: string): boolean =>
    URL.canParse(value) && protocols.includes(new URL(value).protocol.slice(0, -1))
  const schema = v.pipe(v.string('is not a text'), v.check(fits, 'is no such URL'))
  return { text: 'URL', allowed, unit: '', schema: schema as v.GenericSchema<unknown, string> }
}

/** Names of labels. */
export function labelList(): OptionType<readonly string[], readonly string[]> {
  const schema = v.array(v.string('holds something that is not a label'), 'is not a list of labels')
  return {
    text: 'list of labels',
    allowed: 'a list such as ["cluster"]',
    unit: '',
    schema: schema as v.GenericSchema<unknown, readonly string[]>,
  }
}

/** Text by name, for headers and constant labels. */
export function texts(): OptionType<Readonly<Record<string, string>>, Readonly<Record<string, string>>> {
  const schema = v.record(
    v.string(),
    v.string('holds something that is not a text'),
    'is not an object of texts',
  )
  return {
    text: 'object of texts',
    allowed: 'an object such as { "X-Token": "abc" }',
    unit: '',
    schema: schema as v.GenericSchema<unknown, Readonly<Record<string, string>>>,
  }
}

/** Any other shape: `what` for help, `allowed` for remedies, a valibot schema whose messages name problems. */
export function shape<In, Out>(
  what: string,
  allowed: string,
  schema: v.GenericSchema<In, Out>,
): OptionType<In, Out> {
  return { text: what, allowed, unit: '', schema: schema as unknown as v.GenericSchema<unknown, Out> }
}
