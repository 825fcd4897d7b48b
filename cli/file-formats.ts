/**
 * Which files are data, in what format, and what decodes them: by the ending, under a `.gz` too, or as the options say.
 * Opens nothing.
 */
import { basename, extname } from 'node:path'
import type { SampleBuilder } from '../engine/batch/sample-builder.ts'
import type { SeriesTable } from '../engine/series/series-table.ts'
import type { ColumnDecoder, ColumnOptions, ColumnReport } from '../operators/sources/columns.ts'
import { csvDecoder } from '../operators/sources/csv.ts'
import { lineProtocolDecoder } from '../operators/sources/line-protocol.ts'
import { ndjsonDecoder } from '../operators/sources/ndjson.ts'

export const STDIN = '-'
export const FORMATS = ['csv', 'ndjson', 'line-protocol'] as const
export type Format = (typeof FORMATS)[number]
const FORMAT_OF: Readonly<Record<string, Format>> = {
  '.csv': 'csv',
  '.tsv': 'csv',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.lp': 'line-protocol',
  '.txt': 'line-protocol',
}
export const DATA_ENDINGS: readonly string[] = Object.keys(FORMAT_OF)
const GZIP_ENDING = '.gz'
/** The units of a time in line protocol, its own default first. */
export const LINE_TIME_FORMATS = ['ns', 'us', 'ms', 's'] as const

export interface InputOptions extends Omit<ColumnOptions, 'name'> {
  /** Default: the file's stem, or `stdin`. */
  readonly name?: string
  /** Default: by extension; stdin has none. */
  readonly format?: Format
  readonly delimiter?: string
  readonly header?: readonly string[]
  /** Times later than `limitMs` after `nowMs` are faults; default: none is. */
  readonly future?: { readonly nowMs: number; readonly limitMs: number }
}

/** A packed file is data whatever lies in it: the format may be said. */
export function isDataFile(word: string): boolean {
  return word === STDIN || isGzip(word) || formatOf(word) !== undefined
}

export function isGzip(file: string): boolean {
  return extname(file).toLowerCase() === GZIP_ENDING
}

/** `data.csv.gz` without the `.gz`. */
export function unpackedName(file: string): string {
  return isGzip(file) ? file.slice(0, -GZIP_ENDING.length) : file
}

export function formatOf(file: string, { format }: Pick<InputOptions, 'format'> = {}): Format | undefined {
  if (format !== undefined) return format
  const ending = endingOf(file)
  return Object.hasOwn(FORMAT_OF, ending) ? FORMAT_OF[ending] : undefined
}

function endingOf(file: string): string {
  return extname(unpackedName(file)).toLowerCase()
}

export function placeOf(file: string): string {
  return file === STDIN ? 'stdin' : file
}

/** Decodes into the builder, which is emptied between chunks. */
export function decoderFor(
  file: string,
  table: SeriesTable,
  builder: SampleBuilder,
  options: InputOptions,
): ColumnDecoder {
  const { name, format: _, delimiter, header, future, ...columns } = options
  const format = formatOf(file, options)
  if (format === 'line-protocol') return lineDecoder(table, builder, options)
  const inside = unpackedName(placeOf(file))
  const shared = {
    table,
    builder,
    columns: { ...columns, name: name ?? basename(inside, extname(inside)) },
    place: placeOf(file),
    ...(future === undefined ? {} : { latestMs: future.nowMs + future.limitMs }),
  }
  if (format === 'ndjson') return ndjsonDecoder(shared)
  return csvDecoder({
    ...shared,
    delimiter: delimiter ?? (endingOf(file) === '.tsv' ? '\t' : ','),
    ...(header === undefined ? {} : { header }),
  })
}

/** Names, labels and values are the lines' own. A line without a time is a fault, for nobody knows when it was measured. */
function lineDecoder(table: SeriesTable, builder: SampleBuilder, options: InputOptions): ColumnDecoder {
  const { timeFormat, future } = options
  const decoder = lineProtocolDecoder({
    table,
    builder,
    precision: LINE_TIME_FORMATS.find((unit) => unit === timeFormat) ?? LINE_TIME_FORMATS[0],
    nowMs: future?.nowMs ?? 0,
    futureLimitMs: future?.limitMs ?? Infinity,
    timeRequired: true,
  })
  let samples = 0
  let report: ColumnReport | null = null
  return {
    write(chunk) {
      const before = builder.count
      decoder.write(chunk)
      samples += builder.count - before
    },
    end() {
      if (report !== null) return report
      const before = builder.count
      const ended = decoder.end()
      samples += builder.count - before
      report = { ...ended, samples, emptyValues: 0, unseen: [] }
      return report
    },
  }
}
