/** `millrace check`: are these pipelines valid? Loads and compiles them and prints what they do; starts nothing. */
import { defineCommand } from 'citty'
import { describeFault, MillraceError } from '../engine/contract/errors.ts'
import { settingFlags } from './arguments.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { planText } from './plan-text.ts'
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

export const check: Command = {
  definition: defineCommand({
    meta: { name: 'check', description: 'Verify pipelines without starting them' },
    args: {
      pipeline: {
        type: 'positional',
        required: false,
        description: 'TypeScript or JavaScript files that export pipelines by default',
      },
      json: { type: 'boolean', description: 'print plans or faults as JSON' },
      ...settingFlags(),
    },
    run: ({ args, data }) => runCheck(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace check pipeline.ts              what it does, or everything that is wrong with it
  millrace check pipelines/*.ts --json    for a program to read
`,
}

async function runCheck(
  files: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  if (files.length === 0) {
    shell.err('millrace check: no pipeline is named, as in: millrace check pipeline.ts\n')
    return EXIT_USAGE
  }
  const json = args.json === true
  try {
    const config = await loadConfig(args, shell)
    const plans = await loadPipelines(files, shell.cwd, await shell.registry(), config)
    shell.out(json ? `${JSON.stringify({ ok: true, plans }, null, 2)}\n` : plans.map(planText).join('\n'))
    return EXIT_OK
  } catch (error) {
    if (!(error instanceof MillraceError) || error.faults.length === 0) throw error
    const { faults } = error
    if (json) shell.out(`${JSON.stringify({ ok: false, faults }, null, 2)}\n`)
    else shell.err(faults.map((fault) => `${describeFault(fault)}\n`).join(''))
    return EXIT_FAILED
  }
}
