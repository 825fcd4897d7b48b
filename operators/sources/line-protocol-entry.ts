/**
 * The strict parser of one line-protocol entry: a blank line, a comment, or a point, which spans lines when a quoted
 * string does. Called for what the hot loop (line-protocol-lines.ts) does not know: keys on first sight, odd spacing,
 * faults. It decides what is valid; the hot loop only repeats its decisions for bytes that it accepted before.
 *
 * Grammar: github.com/influxdata/line-protocol v2 (line-protocol.ebnf and its reference decoder), as its corpus has it.
 * Guarantee: what it finds in a prefix of the input it also finds in the whole; else it says INCOMPLETE. It never
 * changes anything but itself, and never reads outside [start, end).
 */
import { isUtf8 } from 'node:buffer'
import { latin1, NOT_A_NUMBER, numberProblem } from './line-protocol-number.ts'

export const POINT = 0
/** A blank line or a comment. */
export const NOTHING = 1
/** `problem` says why; the entry is skipped to the first newline at or after `at`. */
export const FAULT = 2
/** More bytes could decide. */
export const INCOMPLETE = 3
export type Outcome = typeof POINT | typeof NOTHING | typeof FAULT | typeof INCOMPLETE

export interface EntryField {
  /** Raw key bytes, with the `=`. */
  readonly keyFrom: number
  readonly keyTo: number
  readonly name: string
  /** null: a string. */
  readonly value: number | null
}

const NEWLINE = 0x0a
const RETURN = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const HASH = 0x23
const COMMA = 0x2c
const MINUS = 0x2d
const EQUALS = 0x3d
const BACKSLASH = 0x5c

const ENDS_MEASUREMENT = 1
const ENDS_KEY = 2
const ENDS_TAG_VALUE = 4
const ENDS_VALUE = 8
const ESCAPED_IN_MEASUREMENT = 16
const ESCAPED_IN_KEY = 32

const CLASSES = new Uint8Array(256)
for (let byte = 0; byte < 256; byte++) {
  if (byte < SPACE || byte === 0x7f) CLASSES[byte] = ENDS_MEASUREMENT | ENDS_KEY
}
for (const byte of [NEWLINE, RETURN]) CLASSES[byte]! |= ENDS_TAG_VALUE | ENDS_VALUE
for (const byte of [SPACE, COMMA]) {
  CLASSES[byte]! |= ENDS_MEASUREMENT | ENDS_KEY | ENDS_TAG_VALUE | ENDS_VALUE
  CLASSES[byte]! |= ESCAPED_IN_MEASUREMENT | ESCAPED_IN_KEY
}
CLASSES[EQUALS]! |= ENDS_KEY | ENDS_TAG_VALUE | ESCAPED_IN_KEY

const TRUTHS: ReadonlyMap<string, number> = new Map([
  ...['t', 'T', 'true', 'True', 'TRUE'].map((text) => [text, 1] as const),
  ...['f', 'F', 'false', 'False', 'FALSE'].map((text) => [text, 0] as const),
])
const VALUE_TEXT_LENGTH_MAX = 40

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

export class LineProtocolEntry {
  outcome: Outcome = NOTHING
  problem = ''
  /** A quoted string is still open at the end. */
  stringOpen = false
  /** Position after the entry, its newline included; where a FAULT was seen. */
  at = 0
  measurement = ''
  measurementFrom = 0
  /** Distinct keys, in the order sent. */
  readonly tags = new Map<string, string>()
  readonly fields: EntryField[] = []
  /** The time's bytes; empty: none. */
  timeFrom = 0
  timeTo = 0
  #bytes: Uint8Array = new Uint8Array(0)
  #end = 0
  #final = false
  #token = ''

  /** `final`: the input ends at `end`. */
  parse(bytes: Uint8Array, start: number, end: number, final: boolean): Outcome {
    this.#bytes = bytes
    this.#end = end
    this.#final = final
    this.at = start
    this.problem = ''
    this.stringOpen = false
    this.tags.clear()
    this.fields.length = 0
    this.timeFrom = 0
    this.timeTo = 0
    this.outcome = POINT
    this.#entry()
    this.#bytes = bytes.subarray(0, 0)
    return this.outcome
  }

  // Each step returns whether to go on; where not, `outcome` says why.

  #entry(): void {
    this.#skipSpaces()
    if (this.at === this.#end) {
      this.outcome = this.#final ? NOTHING : INCOMPLETE
      return
    }
    const first = this.#bytes[this.at]!
    if (first === HASH) {
      if (this.#comment()) this.outcome = NOTHING
    } else if (first === NEWLINE || first === RETURN) {
      if (this.#lineEnd('unexpected carriage return')) this.outcome = NOTHING
    } else if (this.#measurement() && this.#tags() && this.#fields()) {
      this.#time()
    }
  }

  #comment(): boolean {
    for (; this.at < this.#end; this.at++) {
      const byte = this.#bytes[this.at]!
      if (byte === NEWLINE || byte === RETURN) return this.#lineEnd('unexpected carriage return in a comment')
      if ((byte < SPACE && byte !== 0x09) || byte === 0x7f)
        return this.#fault('control character in a comment')
    }
    return this.#atEnd()
  }

  #measurement(): boolean {
    this.measurementFrom = this.at
    if (!this.#takeToken(ENDS_MEASUREMENT, ESCAPED_IN_MEASUREMENT, 'measurement')) return false
    if (this.#token === '') {
      return this.#fault(`unexpected ${this.#found()} at the start of the measurement`)
    }
    this.measurement = this.#token
    return true
  }

  /** From the end of the measurement to the first field. */
  #tags(): boolean {
    for (;;) {
      if (this.at === this.#end) return this.#needMore('expected a field, found the end of input')
      const byte = this.#bytes[this.at]!
      if (byte === SPACE) break
      if (byte !== COMMA) return this.#fault(`expected a tag or a field, found ${this.#found()}`)
      this.at++
      if (!this.#takeToken(ENDS_KEY, ESCAPED_IN_KEY, 'tag key')) return false
      const key = this.#token
      if (key === '') return this.#faultOrMore(`expected a tag key after the comma, found ${this.#found()}`)
      if (this.at === this.#end || this.#bytes[this.at] !== EQUALS) {
        return this.#faultOrMore(`expected = after tag key ${quote(key)}, found ${this.#found()}`)
      }
      this.at++
      if (!this.#takeToken(ENDS_TAG_VALUE, ESCAPED_IN_KEY, 'tag value')) return false
      if (this.#token === '') {
        return this.#faultOrMore(`expected a value for tag ${quote(key)}, found ${this.#found()}`)
      }
      if (this.tags.has(key)) return this.#fault(`duplicate tag key ${quote(key)}`)
      this.tags.set(key, this.#token)
    }
    this.#skipSpaces()
    return true
  }

  /** All fields, to the end of the last value. */
  #fields(): boolean {
    for (;;) {
      const keyFrom = this.at
      if (!this.#takeToken(ENDS_KEY, ESCAPED_IN_KEY, 'field key')) return false
      const name = this.#token
      if (name === '') return this.#faultOrMore(`expected a field key, found ${this.#found()}`)
      if (this.at === this.#end || this.#bytes[this.at] !== EQUALS) {
        return this.#faultOrMore(`expected = after field key ${quote(name)}, found ${this.#found()}`)
      }
      this.at++
      const keyTo = this.at
      const value = this.#value(name)
      if (value === undefined) return false
      this.fields.push({ keyFrom, keyTo, name, value })
      if (this.at === this.#end) return this.#atEnd()
      const byte = this.#bytes[this.at]!
      if ((CLASSES[byte]! & ENDS_VALUE) === 0) {
        return this.#fault(`unexpected ${this.#found()} after field ${quote(name)}`)
      }
      if (byte !== COMMA) return true
      this.at++
    }
  }

  /** undefined: stopped. */
  #value(name: string): number | null | undefined {
    const from = this.at
    if (this.at < this.#end && this.#bytes[from] === QUOTE) return this.#string(name) ? null : undefined
    while (this.at < this.#end && (CLASSES[this.#bytes[this.at]!]! & ENDS_VALUE) === 0) this.at++
    if (this.at === this.#end && !this.#final) {
      this.outcome = INCOMPLETE
      return undefined
    }
    const text = latin1(this.#bytes, from, this.at)
    const truth = TRUTHS.get(text)
    if (truth !== undefined) return truth
    const problem = text === '' ? 'missing' : valueProblem(text)
    if (problem === null) {
      const number = Number(text.endsWith('i') || text.endsWith('u') ? text.slice(0, -1) : text)
      return text.endsWith('i') ? number + 0 : number
    }
    const shown = text === '' ? '' : ` ${quote(text)}`
    this.#fault(`value${shown} of field ${quote(name)} is ${problem}`)
    return undefined
  }

  #string(name: string): boolean {
    const from = this.at + 1
    let high = 0
    let at = from
    for (; at < this.#end; at++) {
      const byte = this.#bytes[at]!
      if (byte === QUOTE) break
      high |= byte
      // Only \" and \\ matter for where the string ends.
      if (byte === BACKSLASH && at + 1 < this.#end) {
        const next = this.#bytes[at + 1]!
        if (next === QUOTE || next === BACKSLASH) at++
      }
    }
    this.at = at
    if (at >= this.#end) {
      this.at = this.#end
      this.stringOpen = true
      return this.#needMore(`the string of field ${quote(name)} has no closing quote`)
    }
    if (high >= 0x80 && !isUtf8(this.#bytes.subarray(from, at))) {
      return this.#fault(`the string of field ${quote(name)} is not UTF-8`)
    }
    this.at++
    return true
  }

  /** From the end of the fields to the end of the entry. */
  #time(): void {
    this.#skipSpaces()
    if (this.at === this.#end) {
      this.#atEnd()
      return
    }
    const first = this.#bytes[this.at]!
    if (first === MINUS || (first >= 0x30 && first <= 0x39)) {
      this.timeFrom = this.at
      while (this.at < this.#end && isTimeByte(this.#bytes[this.at]!)) this.at++
      this.timeTo = this.at
      if (this.at < this.#end && (CLASSES[this.#bytes[this.at]!]! & ENDS_VALUE) === 0) {
        this.#fault(`unexpected ${this.#found()} in the timestamp`)
        return
      }
      this.#skipSpaces()
    }
    this.#lineEnd(this.timeTo > 0 ? 'unexpected text after the timestamp' : 'the timestamp is not an integer')
  }

  /** Takes LF, CR LF, or the end of input (after a CR or not); anything else is `problem`. */
  #lineEnd(problem: string): boolean {
    if (this.at === this.#end) return this.#atEnd()
    const byte = this.#bytes[this.at]!
    if (byte === NEWLINE) {
      this.at++
      return true
    }
    if (byte !== RETURN) return this.#fault(problem)
    if (this.at + 1 === this.#end) {
      if (this.#final) this.at++
      return this.#atEnd()
    }
    if (this.#bytes[this.at + 1] !== NEWLINE) return this.#fault(problem)
    this.at += 2
    return true
  }

  /** Takes bytes up to one of class `ends` that no backslash escapes; the unescaped text goes to #token. */
  #takeToken(ends: number, escaped: number, what: string): boolean {
    const bytes = this.#bytes
    const end = this.#end
    const from = this.at
    let at = from
    let high = 0
    let escapes = false
    for (; at < end; at++) {
      const byte = bytes[at]!
      if (byte === BACKSLASH) {
        if (at + 1 < end && (CLASSES[bytes[at + 1]!]! & escaped) !== 0) {
          escapes = true
          at++
        }
        continue
      }
      if ((CLASSES[byte]! & ends) !== 0) break
      high |= byte
    }
    this.at = at
    if (at === end && !this.#final) return this.#needMore('')
    const raw = bytes.subarray(from, at)
    if (high >= 0x80 && !isUtf8(raw)) return this.#fault(`the ${what} is not UTF-8`)
    this.#token = utf8.decode(escapes ? withoutEscapes(raw, escaped) : raw)
    return true
  }

  #skipSpaces(): void {
    while (this.at < this.#end && this.#bytes[this.at] === SPACE) this.at++
  }

  #fault(problem: string): false {
    this.outcome = FAULT
    this.problem = problem
    return false
  }

  /** At the end of the bytes: a fault only if the input ends here, too. */
  #needMore(problem: string): false {
    if (this.#final) return this.#fault(problem)
    this.outcome = INCOMPLETE
    return false
  }

  #faultOrMore(problem: string): false {
    return this.at === this.#end ? this.#needMore(problem) : this.#fault(problem)
  }

  /** At the end of the bytes where the entry may end: complete only if the input ends here, too. */
  #atEnd(): boolean {
    if (this.#final) return true
    this.outcome = INCOMPLETE
    return false
  }

  #found(): string {
    if (this.at >= this.#end) return 'the end of input'
    const byte = this.#bytes[this.at]!
    if (byte === NEWLINE || byte === RETURN) return 'the end of the line'
    if (byte === SPACE) return 'a space'
    if (byte > SPACE && byte < 0x7f) return quote(String.fromCharCode(byte))
    return `byte 0x${byte.toString(16).padStart(2, '0')}`
  }
}

function valueProblem(text: string): string | null {
  const first = text.charCodeAt(0)
  if (first === MINUS || first === 0x2e || (first >= 0x30 && first <= 0x39)) {
    const problem = numberProblem(text)
    return problem === NOT_A_NUMBER ? 'not a number, boolean or string' : problem
  }
  return 'not a number, boolean or string'
}

function isTimeByte(byte: number): boolean {
  return byte === MINUS || (byte >= 0x30 && byte <= 0x39)
}

function withoutEscapes(raw: Uint8Array, escaped: number): Uint8Array {
  const text = new Uint8Array(raw.length)
  let length = 0
  for (let at = 0; at < raw.length; at++) {
    const next = raw[at + 1]
    if (raw[at] === BACKSLASH && next !== undefined && (CLASSES[next]! & escaped) !== 0) at++
    text[length++] = raw[at]!
  }
  return text.subarray(0, length)
}

function quote(text: string): string {
  return JSON.stringify(
    text.length > VALUE_TEXT_LENGTH_MAX ? `${text.slice(0, VALUE_TEXT_LENGTH_MAX)}…` : text,
  )
}
