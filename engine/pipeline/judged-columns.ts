/** What a detector of a pipeline is to judge, as written, held against what it can: one column, several, or none. Pure. */
import { knownRemedy } from '../config/did-you-mean.ts'
import type { Fault } from '../contract/errors.ts'
import { type DetectorSubject, VECTOR_COLUMNS_MAX } from '../contract/plugins.ts'

/** Between names in the one of several columns; no aggregate is called so. */
const JOINT = '+'
const COLUMNS_MIN = 2

export interface Judged {
  readonly column: string | null
  readonly columns: readonly string[] | null
}

/** One name for whatever is judged. */
export function judgedOf(written: string | readonly string[] | null): Judged {
  return Array.isArray(written)
    ? { column: written.map(String).join(JOINT), columns: written.map(String) }
    : { column: written as string | null, columns: null }
}

/** Faults of columns that no aggregate is called, or that are named twice. `known` null: the window has faults itself. */
export function unknownColumns(
  { column, columns }: Judged,
  known: readonly string[] | null,
  place: string,
): Fault[] {
  const names = columns ?? (column === null ? [] : [column])
  return names.flatMap((name, i): Fault[] => {
    if (names.indexOf(name) < i)
      return [{ place, value: name, problem: 'is named twice', remedy: 'Name each column once.' }]
    if (known === null || known.includes(name)) return []
    const problem = 'is not an aggregate of the window'
    return [{ place, value: name, problem, remedy: knownRemedy(name, known) }]
  })
}

/** A detector that judges something else than it was given. */
export function subjectFault(
  subject: DetectorSubject,
  kind: string,
  { column, columns }: Judged,
  known: readonly string[],
  place: string,
): Fault | null {
  const [one = 'column', other = 'another'] = known
  if (subject === 'silence') {
    if (column === null) return null
    const problem = `${kind} judges whether samples come, not a column`
    return { place, value: columns ?? column, problem, remedy: `Write .detect(${kind}(…)).` }
  }
  if (subject === 'vector') {
    const remedy = `Write .detect(["${one}", "${other}"], ${kind}(…)).`
    if (columns === null)
      return { place, value: column ?? kind, problem: `${kind} judges several columns together`, remedy }
    if (columns.length < COLUMNS_MIN)
      return { place, value: columns, problem: 'are fewer than two columns', remedy }
    if (columns.length <= VECTOR_COLUMNS_MAX) return null
    const most = `At most ${VECTOR_COLUMNS_MAX}; use several detectors.`
    return { place, value: columns.length, problem: 'columns are too many', remedy: most }
  }
  const remedy = `Write .detect("${one}", ${kind}(…)).`
  if (column === null) return { place, value: kind, problem: 'judges a column, and none is named', remedy }
  if (columns === null) return null
  return { place, value: columns, problem: `are several columns; ${kind} judges one`, remedy }
}
