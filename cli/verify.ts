/**
 * `millrace verify`: is the store what it should be? Reads every byte that carries a checksum and compares what rows say
 * about each other, while a node runs on the store or none. Changes nothing.
 */
import { defineCommand } from 'citty'
import type { NodeConfig } from '../engine/config/config.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Registry } from '../engine/contract/plugins.ts'
import { pipelineVerifier, unknownDetectors } from '../engine/pipeline/verify-pipeline.ts'
import { storeAt } from '../engine/store/place.ts'
import type { PipelineRecord } from '../engine/store/state-contract.ts'
import { type Finding, type VerifyReport, verifyStore } from '../engine/store/verify/verify.ts'
import { loadPlugins, registry as registryOfPlugins } from '../workers/plugins.ts'
import { someSettingFlags } from './arguments.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { bytesText, countText, rateText, secondsText, showLine } from './progress.ts'
import {
  type Command,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_SIGNALLED,
  EXIT_USAGE,
  type Shell,
  shellOf,
} from './shell.ts'

const FINDINGS_SHOWN_MAX = 100

export const verify: Command = {
  definition: defineCommand({
    meta: { name: 'verify', description: 'Check every checksum and invariant of a store, running or not' },
    args: {
      pipelines: {
        type: 'positional',
        required: false,
        description:
          'modules of pipelines that define detectors of their own, whose state is to be restored too',
      },
      json: { type: 'boolean', description: 'print the report as JSON' },
      ...someSettingFlags('config', 'data'),
    },
    run: ({ args, data }) => runVerify(args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace verify                         the store in ./millrace-data, also while a node runs on it
  millrace verify --data /backups/monday
  millrace verify pipeline.ts             with the detectors that this module defines
  millrace verify --json                  for a program to read

Exit codes: 0 nothing is wrong; 1 damage was found; 2 there is no store, or the command line is not understood.
`,
}

async function runVerify(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const config = await loadConfig(args, shell)
  let dir: string
  try {
    dir = storeAt(config.data)
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    shell.err(`millrace verify: ${error.message}\n`)
    return EXIT_USAGE
  }
  const startedMs = shell.clock.monotonicMs()
  const registry = await registryWith(args._ as readonly string[], shell, config)
  const report = await verifyDirectory(dir, shell, registry)
  const seconds = (shell.clock.monotonicMs() - startedMs) / 1_000
  if (args.json === true) shell.out(`${JSON.stringify({ ...report, seconds }, null, 2)}\n`)
  else shell.out(verifyText(report, seconds))
  if (report.isPartial) return EXIT_SIGNALLED[await shell.stopped]
  return report.findingCount > 0 ? EXIT_FAILED : EXIT_OK
}

/** Verifies with progress on a terminal; a signal stops it. Used by backup and restore too. */
export async function verifyDirectory(dir: string, shell: Shell, known?: Registry): Promise<VerifyReport> {
  const registry = known ?? (await shell.registry())
  let stopped = false
  void shell.stopped.then(() => {
    stopped = true
  })
  const startedMs = shell.clock.monotonicMs()
  let text = ''
  const line = showLine(shell, () => text)
  try {
    return await verifyStore({
      dir,
      pipeline: (record) => {
        tellUnknown(record, registry, shell)
        return pipelineVerifier(record, registry)
      },
      onProgress({ check, rows, bytesRead, bytesTotal }) {
        const elapsedMs = shell.clock.monotonicMs() - startedMs
        const share = Math.min(1, bytesRead / Math.max(1, bytesTotal))
        const parts = [
          `verifying ${check}`,
          `${countText(rows)} rows`,
          `${rateText((bytesRead / Math.max(1, elapsedMs)) * 1_000)}B/s`,
        ]
        // Free pages are counted in the total, so that this is a bound.
        if (share > 0.01) {
          parts.push(`at most ${secondsText(((elapsedMs / share) * (1 - share)) / 1_000)} left`)
        }
        text = parts.join(' · ')
        return stopped
      },
    })
  } finally {
    line.stop()
  }
}

export function verifyText(report: VerifyReport, seconds: number): string {
  const lines: string[] = []
  for (const finding of report.findings.slice(0, FINDINGS_SHOWN_MAX)) lines.push(findingText(finding))
  const more = report.findingCount - Math.min(report.findings.length, FINDINGS_SHOWN_MAX)
  if (more > 0) lines.push(`… and ${countText(more)} more`)
  for (const warning of report.warnings.slice(0, FINDINGS_SHOWN_MAX)) {
    lines.push(`note: ${findingText(warning)}`)
  }
  const rows = report.checks.map(({ check, rows }) => `${check} ${countText(rows)}`).join(', ')
  lines.push(`read ${rows} (rows)`)
  const rate = `${rateText(report.bytes / Math.max(seconds, 1e-3))}B/s`
  const spent = `${bytesText(report.bytes)} in ${secondsText(seconds)}, ${rate}`
  lines.push(`${report.dir}: ${verdictText(report)}; ${spent}`)
  return `${lines.join('\n')}\n`
}

function verdictText({ findingCount, isPartial }: VerifyReport): string {
  if (findingCount > 0) return `${countText(findingCount)} ${findingCount === 1 ? 'fault' : 'faults'} found`
  return isPartial ? 'broken off; nothing found so far' : 'no fault found'
}

function findingText({ place, problem, remedy }: Finding): string {
  return `${place}: ${problem}. ${remedy}`
}

async function registryWith(files: readonly string[], shell: Shell, config: NodeConfig): Promise<Registry> {
  const registry = await shell.registry()
  if (files.length === 0) return registry
  await loadPlugins(await loadPipelines(files, shell.cwd, registry, config))
  return registryOfPlugins
}

/** What is not looked at is said. */
function tellUnknown(record: PipelineRecord, registry: Registry, shell: Shell): void {
  let plan: PipelinePlan
  try {
    plan = JSON.parse(record.planJson) as PipelinePlan
  } catch {
    // A finding of its own.
    return
  }
  const kinds = unknownDetectors(plan, registry)
  if (kinds.length === 0) return
  const module = plan.module ?? 'the module'
  shell.err(
    `millrace verify: the state of pipeline "${plan.name}" is not restored, since ${kinds.join(', ')} is defined in ` +
      `${module}. Name it to have that checked too: millrace verify ${module}\n`,
  )
}
