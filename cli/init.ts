/**
 * `millrace init DIR`: a project that runs as it is: the files of examples/starter, dashboards and rules for Grafana and
 * Prometheus, and a package.json that names this version. Writes into an empty or new directory only; overwrites nothing.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { defineCommand } from 'citty'
import { MillraceError } from '../engine/contract/errors.ts'
import { VERSION } from '../engine/util/version.ts'
import { packageRoot } from './package-root.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'

const STARTER = ['pipeline.ts', 'pipeline.test.ts', 'millrace.config.ts', 'tsconfig.json', 'README.md']
/** What a directory may hold and still count as empty. */
const HARMLESS = new Set(['.git', '.DS_Store'])

export const init: Command = {
  definition: defineCommand({
    meta: {
      name: 'init',
      description: 'Write a project to start from: pipeline, test, configuration, dashboards',
    },
    args: {
      dir: { type: 'positional', required: false, description: 'a new directory, or an empty one' },
      json: { type: 'boolean', description: 'print what was written as JSON' },
    },
    run: ({ args, data }) => runInit(args._, args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace init my-alerts        then: cd my-alerts && npm install && npm test && npm start
`,
}

async function runInit(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  const [named] = words
  if (named === undefined || words.length > 1) {
    const problem = named === undefined ? 'no directory is named' : 'only one directory can be made'
    shell.err(`millrace init: ${problem}, as in: millrace init my-alerts\n`)
    return EXIT_USAGE
  }
  const dir = resolve(shell.cwd, named)
  const files = [
    ...STARTER.map((name) => ({
      name,
      text: readFileSync(join(packageRoot(), 'examples/starter', name), 'utf8'),
    })),
    ...monitoring(),
    { name: 'package.json', text: manifestText(dir) },
    { name: '.gitignore', text: 'node_modules/\nmillrace-data/\nalerts.ndjson\n' },
  ]
  prepare(dir, named)
  for (const { name, text } of files) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), text, { flag: 'wx' })
  }
  const names = files.map(({ name }) => name).sort()
  const listed = [...new Set(names.map((name) => name.split(sep)[0]!))]
  if (args.json === true) shell.out(`${JSON.stringify({ dir, files: names }, null, 2)}\n`)
  else {
    const go = relative(shell.cwd, dir)
    shell.out(
      `wrote ${listed.join(', ')}\n\nnext:\n${go === '' ? '' : `  cd ${go}\n`}  npm install\n  npm test\n  npm start\n`,
    )
  }
  return EXIT_OK
}

/** Everything below dashboards/provisioning, in a folder `monitoring`. */
function monitoring(): { readonly name: string; readonly text: string }[] {
  const from = join(packageRoot(), 'dashboards/provisioning')
  return readdirSync(from, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(json|ya?ml)$/.test(name))
    .sort()
    .map((name) => ({ name: join('monitoring', name), text: readFileSync(join(from, name), 'utf8') }))
}

function prepare(dir: string, named: string): void {
  const refuse = (problem: string, remedy: string): never => {
    throw MillraceError.ofFaults('INPUT_INVALID', 'no project was written', [
      { place: named, value: dir, problem, remedy },
    ])
  }
  if (existsSync(dir)) {
    if (!statSync(dir).isDirectory()) refuse('is a file', 'Name a directory.')
    const there = readdirSync(dir).filter((name) => !HARMLESS.has(name))
    if (there.length > 0) {
      const some = there.slice(0, 3).join(', ')
      refuse(
        `is not empty (${some}${there.length > 3 ? ', …' : ''})`,
        'Name a new directory, or an empty one.',
      )
    }
  }
  try {
    mkdirSync(dir, { recursive: true })
  } catch (error) {
    refuse(`cannot be made: ${(error as Error).message}`, 'Name one where this user may write.')
  }
}

function manifestText(dir: string): string {
  const manifest = {
    name: packageName(basename(dir)),
    private: true,
    type: 'module',
    scripts: {
      start: 'millrace run pipeline.ts',
      check: 'millrace check pipeline.ts',
      test: 'vitest run',
      types: 'tsc',
    },
    dependencies: { millrace: source() },
    devDependencies: { '@types/node': '^20.19.0', typescript: '>=5.9', vitest: '^4.1.0' },
  }
  return `${JSON.stringify(manifest, null, 2)}\n`
}

/** From an installed package its version; from a checkout, the checkout. */
function source(): string {
  const root = packageRoot()
  return root.split(sep).includes('node_modules') ? `^${VERSION}` : `file:${root}`
}

function packageName(folder: string): string {
  const name = folder
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '')
  return name === '' ? 'alerts' : name
}
