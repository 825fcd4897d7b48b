/** How a person names a series, or the labels of a group, on the command line. */
import { MillraceError } from '../engine/contract/errors.ts'
import { type Labels, NAME_LABEL } from '../engine/contract/samples.ts'

/** `name{host="a"}`, `{host="a"}` or `host=a,region=b`. */
export function readSeries(written: string): Labels {
  const [, name = '', inside = ''] = /^([^{=]*)\{(.*)\}$/.exec(written.trim()) ?? ['', '', written]
  const labels: Record<string, string> = name === '' ? {} : { [NAME_LABEL]: name }
  let rest = inside.trim()
  while (rest !== '') {
    const [all, label, quoted, plain] =
      /^([^=,\s]+)\s*=\s*(?:("(?:[^"\\]|\\.)*")|([^,"]*))\s*(?:,\s*|$)/.exec(rest) ?? []
    if (all === undefined || label === undefined) {
      const remedy = `Write labels such as host=a,region=b or cpu{host="a"}.`
      const fault = { place: 'SERIES', value: written, problem: 'is no series', remedy }
      throw MillraceError.ofFaults('INPUT_INVALID', 'which series is not clear', [fault])
    }
    labels[label === 'name' ? NAME_LABEL : label] =
      quoted === undefined ? plain!.trim() : (JSON.parse(quoted) as string)
    rest = rest.slice(all.length)
  }
  return labels
}
