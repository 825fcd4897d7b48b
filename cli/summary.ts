/** What a run over files did, for a person. Pure. */
import type { RunSummary } from '../engine/contract/node.ts'
import type { FeedReport, FileReport } from './feed-files.ts'
import { countText, rateText, secondsText } from './progress.ts'

const FAULTS_SHOWN_MAX = 10
const TIMES_ACCEPTED =
  'times are 2026-01-31T12:00:00Z, 2026-01-31 12:00:00, 2026-01-31, or a number of s, ms, us or ns since 1970: see --time-format'

export function summaryText(
  report: FeedReport,
  summary: RunSummary,
  elapsedMs: number,
  dataDirectory: string,
): string {
  const lines: string[] = []
  for (const file of report.files) lines.push(...fileLines(file))
  if (report.refusedSamples > 0) {
    lines.push(
      `${counted(report.refusedSamples, 'sample')} of series over the limit were refused: raise --series-limit`,
    )
  }
  for (const pipeline of summary.pipelines) {
    const { windowed, filtered, late, nonFinite, dead } = pipeline
    const fates = [
      `${countText(windowed)} windowed`,
      `${countText(filtered)} filtered`,
      `${countText(late)} late`,
      ...(nonFinite > 0 ? [`${countText(nonFinite)} not finite`] : []),
      ...(dead > 0 ? [`${countText(dead)} given up: see /api/v1/dead-letters`] : []),
    ]
    lines.push(
      `${pipeline.name}: ${counted(pipeline.samples, 'sample')} (${fates.join(', ')}), ${counted(pipeline.results, 'result')}, ${counted(pipeline.alertsFiring, 'alert')} fired, ${countText(pipeline.alertsResolved)} resolved`,
    )
    if (filtered > 0 && filtered === pipeline.samples) {
      lines.push(
        '  no sample matched its .where(): a column c of metric m becomes the series m_c, or m where the column is called ' +
          'value. `--name` names the metric.',
      )
    }
    if (late > windowed) {
      lines.push(
        `  most samples came late: ${dataDirectory} has seen newer ones. Name another --data for a run of its own.`,
      )
    }
  }
  const rate = elapsedMs > 0 ? report.samples / (elapsedMs / 1_000) : 0
  lines.push(
    `done in ${secondsText(elapsedMs / 1_000)}, ${rateText(rate)} samples/s; results are kept in ${dataDirectory}`,
  )
  return `${lines.join('\n')}\n`
}

function fileLines(file: FileReport): string[] {
  const parts = [counted(file.lines, 'line'), counted(file.samples, 'sample')]
  if (file.emptyValues > 0) parts.push(counted(file.emptyValues, 'empty value'))
  if (file.stringFields > 0) parts.push(counted(file.stringFields, 'string field'))
  if (file.faultCount > 0) parts.push(counted(file.faultCount, 'bad line'))
  const lines = [`${file.file}: ${parts.join(', ')}`]
  for (const { line, problem, text } of file.faults.slice(0, FAULTS_SHOWN_MAX)) {
    lines.push(`  ${file.file}:${line}: ${problem}: ${text.trimEnd()}`)
  }
  const more = file.faultCount - Math.min(file.faults.length, FAULTS_SHOWN_MAX)
  if (more > 0) lines.push(`  … and ${counted(more, 'more bad line')}`)
  if (file.faults.some(({ problem }) => problem.includes('is not a time'))) lines.push(`  ${TIMES_ACCEPTED}`)
  if (file.samples === 0 && file.faultCount === 0) {
    lines.push(
      `  ${file.emptyValues > 0 ? 'it holds no value' : 'it holds no rows'}: nothing was read from it`,
    )
  }
  if (file.unseen.length > 0) lines.push(`  no line had ${file.unseen.join(', ')}`)
  return lines
}

function counted(count: number, what: string): string {
  return `${countText(count)} ${what}${count === 1 ? '' : 's'}`
}
