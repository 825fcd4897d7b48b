/**
 * The canonical key of a series: UTF-8 metric name, then for each label in byte order of its name
 * 0xFF name 0xFE value. Neither byte occurs in UTF-8, so keys are unambiguous and need no escape; equal label sets have
 * equal bytes whatever order they were sent in. Labels with an empty value are absent, as in Prometheus.
 * The same encoding, with an empty name unless `__name__` is among the labels, is a group's key.
 */
import { type Labels, NAME_LABEL } from '../contract/samples.ts'
import { compareBytes } from '../util/bytes.ts'
import { fnv1a, mix32 } from '../util/hash.ts'

const LABEL_MARK = 0xff
const VALUE_MARK = 0xfe
/** Longer keys are refused with the line. A key is stored once a series, as a value. */
export const SERIES_KEY_BYTES_MAX = 4_096

const encoder = new TextEncoder()
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant.
const ASCII = /^[\x00-\x7f]*$/
/** Keys are written here first; one a thread. */
let scratch = Buffer.alloc(1_024)

export function encodeSeriesKey(labels: Labels): Uint8Array {
  const metric = Object.hasOwn(labels, NAME_LABEL) ? labels[NAME_LABEL]! : ''
  const names: string[] = []
  let units = metric.length
  for (const name of Object.keys(labels)) {
    const value = labels[name]!
    if (name === NAME_LABEL || value === '') continue
    names.push(name)
    units += name.length + value.length
  }
  if (names.length > 1) sortByBytes(names)
  // A UTF-16 unit takes at most three bytes of UTF-8.
  const bytesMax = units * 3 + names.length * 2
  if (bytesMax > scratch.length) scratch = Buffer.alloc(bytesMax * 2)
  let at = scratch.write(metric, 0)
  for (const name of names) {
    scratch[at++] = LABEL_MARK
    at += scratch.write(name, at)
    scratch[at++] = VALUE_MARK
    at += scratch.write(labels[name]!, at)
  }
  // Not `slice`: a Buffer's copies are Buffers.
  return new Uint8Array(scratch.subarray(0, at))
}

function sortByBytes(names: string[]): void {
  // Units and bytes of ASCII have the same order; of surrogates they have not.
  if (names.every((name) => ASCII.test(name))) names.sort()
  else names.sort((a, b) => compareBytes(encoder.encode(a), encoder.encode(b)))
}

export function decodeSeriesKey(key: Uint8Array): Record<string, string> {
  // Pairs, since a label may be called __proto__.
  const pairs: [string, string][] = []
  // Four times as fast as a TextDecoder for words as short as these; a byte order mark stays part of its label.
  const text = Buffer.from(key.buffer, key.byteOffset, key.length)
  let end = key.indexOf(LABEL_MARK)
  if (end < 0) end = key.length
  if (end > 0) pairs.push([NAME_LABEL, text.toString('utf8', 0, end)])
  while (end < key.length) {
    const middle = key.indexOf(VALUE_MARK, end)
    let next = key.indexOf(LABEL_MARK, middle)
    if (next < 0) next = key.length
    pairs.push([text.toString('utf8', end + 1, middle), text.toString('utf8', middle + 1, next)])
    end = next
  }
  return Object.fromEntries(pairs)
}

/** The key of the group that a series belongs to. Labels the series lacks are absent from the group's key. */
export function groupKey(labels: Labels, groupBy: readonly string[] | null): Uint8Array {
  if (groupBy === null) return encodeSeriesKey(labels)
  const present = groupBy.filter((label) => Object.hasOwn(labels, label))
  return encodeSeriesKey(Object.fromEntries(present.map((label) => [label, labels[label]!])))
}

/**
 * `groupKey` from the bytes of a series' key: without a string or an array a series, which a million new ones would leave
 * behind as garbage. `groupBy` is encoded once, by `labelBytes`. The key is valid until the next call.
 */
export function groupKeyBytes(key: Uint8Array, groupBy: LabelBytes): Uint8Array {
  if (key.length > scratch.length) scratch = Buffer.alloc(key.length * 2)
  const into = scratch
  let end = 0
  while (end < key.length && key[end] !== LABEL_MARK) end++
  let length = 0
  if (groupBy.hasName) for (; length < end; length++) into[length] = key[length]!
  while (end < key.length) {
    const from = end++
    while (end < key.length && key[end] !== VALUE_MARK) end++
    const isWanted = isAmong(key, from + 1, end, groupBy.labels)
    while (end < key.length && key[end] !== LABEL_MARK) end++
    if (isWanted) for (let i = from; i < end; i++) into[length++] = key[i]!
  }
  return into.subarray(0, length)
}

export interface LabelBytes {
  readonly hasName: boolean
  readonly labels: readonly Uint8Array[]
}

export function labelBytes(groupBy: readonly string[]): LabelBytes {
  const labels = groupBy.filter((label) => label !== NAME_LABEL).map((label) => encoder.encode(label))
  return { hasName: groupBy.includes(NAME_LABEL), labels }
}

function isAmong(key: Uint8Array, from: number, to: number, labels: readonly Uint8Array[]): boolean {
  for (let k = 0; k < labels.length; k++) {
    const label = labels[k]!
    if (label.length !== to - from) continue
    let i = 0
    while (i < label.length && label[i] === key[from + i]) i++
    if (i === label.length) return true
  }
  return false
}

/** The partition of a series: by key bytes, never by id, so that it is the same on every node and after every restart. */
export function partitionOf(
  labels: Labels,
  partitionBy: readonly string[] | null,
  partitions: number,
): number {
  const key = groupKey(labels, partitionBy)
  return (mix32(fnv1a(key, 0, key.length)) >>> 0) % partitions
}

/** `http_requests{host="a",job="b"}`, for people. */
export function seriesText(labels: Labels): string {
  const pairs = Object.entries(labels)
    .filter(([label]) => label !== NAME_LABEL)
    .map(([label, value]) => `${label}=${JSON.stringify(value)}`)
  const name = labels[NAME_LABEL] ?? ''
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`
}
