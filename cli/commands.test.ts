/** What holds for every command: help, colours, completion, exit codes; and the project that init writes. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { wantsColour } from './colour.ts'
import { NODE_WANTED, nodeIsOld } from './node-version.ts'
import { EXIT_FAILED, EXIT_OK, EXIT_SIGNALLED, EXIT_USAGE } from './shell.ts'
import { runCommand } from './test-shell.ts'

let dir = ''
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-commands-'))
})
afterEach(() => {
  rmSync(dir, { recursive: true, force: true })
})

async function commands(): Promise<string[]> {
  const { out } = await runCommand(['--help'], { cwd: dir })
  return [...out.matchAll(/^ {2}millrace ([a-z]+)\b.* {2,}\S/gm)].map(([, name]) => name!)
}

describe('every command', () => {
  test('has a help with its flags and an example, on stdout', async () => {
    const names = [...new Set(await commands())]
    expect(names.length).toBeGreaterThanOrEqual(14)
    for (const name of names) {
      for (const words of [
        [name, '--help'],
        ['help', name],
      ]) {
        const { code, out, err } = await runCommand(words, { cwd: dir })
        expect({ name, code, err }).toEqual({ name, code: 0, err: '' })
        expect(out).toMatch(new RegExp(`^USAGE.* millrace ${name}`, 'm'))
        expect(out).toMatch(new RegExp(`EXAMPLES\\n\\n.*millrace ${name}`))
      }
    }
  })

  test('is described in docs/cli.md', async () => {
    const docs = readFileSync('docs/cli.md', 'utf8')
    for (const name of await commands()) expect(docs).toMatch(new RegExp(`^ {4}millrace ${name}\\b`, 'm'))
  })

  test('knows what was meant: commands and flags', async () => {
    const typo = await runCommand(['statsu'], { cwd: dir })
    expect(typo).toMatchObject({ code: 2 })
    expect(typo.err).toContain('Did you mean "status"?')
    for (const [name, flag] of [
      ['status', '--jsn'],
      ['alerts', '--histori'],
      ['doctor', '--prot'],
      ['top', '--ulr'],
    ]) {
      const { code, err } = await runCommand([name!, flag!], { cwd: dir })
      expect(code).toBe(2)
      expect(err).toMatch(new RegExp(`millrace ${name}: ${flag}: is no known flag .*Did you mean --`))
    }
  })
})

test('exit codes are those that docs/cli.md lists', () => {
  const docs = readFileSync('docs/cli.md', 'utf8')
  const section = docs.slice(docs.indexOf('## Signals and exit codes'))
  const listed = [...section.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, codes]) =>
    codes!.split(',').map(Number),
  )
  // SIGKILL is nothing that a process returns: the shell says 128 + 9 for it.
  const known = [EXIT_OK, EXIT_FAILED, EXIT_USAGE, ...Object.values(EXIT_SIGNALLED), 137]
  expect(listed.sort((a, b) => a - b)).toEqual(known.sort((a, b) => a - b))
})

describe('colours', () => {
  test('on a terminal only, and NO_COLOR and FORCE_COLOR have their way', () => {
    expect(wantsColour(true, {})).toBe(true)
    expect(wantsColour(false, {})).toBe(false)
    expect(wantsColour(true, { NO_COLOR: '1' })).toBe(false)
    expect(wantsColour(true, { NO_COLOR: '' })).toBe(true)
    expect(wantsColour(true, { TERM: 'dumb' })).toBe(false)
    expect(wantsColour(false, { FORCE_COLOR: '1' })).toBe(true)
    expect(wantsColour(false, { FORCE_COLOR: '1', NO_COLOR: '1' })).toBe(true)
    expect(wantsColour(true, { FORCE_COLOR: '0' })).toBe(false)
  })

  test('help has them, or has not, and says the same', async () => {
    const plain = await runCommand(['run', '--help'], { cwd: dir })
    const coloured = await runCommand(['run', '--help'], { cwd: dir, outIsTerminal: true })
    expect(plain.out).not.toContain('\x1b')
    expect(coloured.out).toContain('\x1b[1mEXAMPLES\x1b[22m')
    expect(stripVTControlCharacters(coloured.out)).toBe(plain.out)
  })
})

describe('completion', () => {
  /** What bash offers for the last of these words. */
  function offered(script: string, words: readonly string[]): string[] {
    const quoted = words.map((word) => `'${word}'`).join(' ')
    const program = `${script}\nCOMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _millrace; printf '%s\\n' "\${COMPREPLY[@]}"`
    const out = execFileSync('bash', ['-c', program], { cwd: dir, encoding: 'utf8' })
    return out.split('\n').filter((line) => line !== '')
  }

  test('bash offers commands, flags, words and files', async () => {
    const { code, out } = await runCommand(['completion', 'bash'], { cwd: dir })
    expect(code).toBe(0)
    writeFileSync(join(dir, 'pipeline.ts'), '')
    expect(offered(out, ['millrace', 'sta'])).toEqual(['status'])
    expect(offered(out, ['millrace', ''])).toEqual(
      expect.arrayContaining(['demo', 'run', 'top', 'completion']),
    )
    expect(offered(out, ['millrace', 'run', '--retention-a'])).toEqual(['--retention-age'])
    expect(offered(out, ['millrace', 'run', 'pipe'])).toEqual(['pipeline.ts'])
    expect(offered(out, ['millrace', 'run', '--data', ''])).toEqual(['pipeline.ts'])
    expect(offered(out, ['millrace', 'alerts', 't'])).toEqual(['test'])
  })

  test.each(['zsh', 'fish'])(
    '%s: every command and every flag is in it, and the shell can read it',
    async (name) => {
      const { out } = await runCommand(['completion', name], { cwd: dir })
      for (const command of await commands()) expect(out).toContain(command)
      expect(out).toContain(name === 'zsh' ? "'--retention-age[" : '-l retention-age -r')
      const check = spawnSync(name, ['-n'], { input: out, encoding: 'utf8' })
      // Without that shell here, reading it is its users' part.
      if (check.error === undefined) expect(check).toMatchObject({ status: 0, stderr: '' })
    },
  )

  test('another shell is a usage error', async () => {
    const { code, err } = await runCommand(['completion', 'bsh'], { cwd: dir })
    expect(code).toBe(2)
    expect(err).toContain('Did you mean "bash"?')
    expect(await runCommand(['completion'], { cwd: dir })).toMatchObject({ code: 2 })
  })
})

describe('millrace init', () => {
  test('writes a whole project into a new directory', async () => {
    const { code, out } = await runCommand(['init', 'sub/My Alerts'], { cwd: dir })
    expect(code).toBe(0)
    expect(out).toContain('npm install')
    const there = join(dir, 'sub/My Alerts')
    expect(readdirSync(there).sort()).toEqual([
      '.gitignore',
      'README.md',
      'millrace.config.ts',
      'monitoring',
      'package.json',
      'pipeline.test.ts',
      'pipeline.ts',
      'tsconfig.json',
    ])
    for (const file of ['grafana/dashboards/overview.json', 'prometheus/millrace-rules.yaml']) {
      const made = readFileSync(join(there, 'monitoring', file), 'utf8')
      expect(made).toBe(readFileSync(join('dashboards/provisioning', file), 'utf8'))
    }
    const manifest = JSON.parse(readFileSync(join(there, 'package.json'), 'utf8'))
    expect(manifest).toMatchObject({
      name: 'my-alerts',
      type: 'module',
      scripts: { start: 'millrace run pipeline.ts' },
    })
    expect(manifest.dependencies.millrace).toBe(`file:${process.cwd()}`)
  })

  test('overwrites nothing: a directory that holds something is refused, by what it holds', async () => {
    mkdirSync(join(dir, 'full'))
    writeFileSync(join(dir, 'full/mine.txt'), 'mine')
    const { code, err } = await runCommand(['init', 'full'], { cwd: dir })
    expect(code).toBe(1)
    expect(err).toContain('is not empty (mine.txt)')
    expect(readdirSync(join(dir, 'full'))).toEqual(['mine.txt'])
    const file = await runCommand(['init', 'full/mine.txt'], { cwd: dir })
    expect(file.err).toContain('is a file')
    expect(await runCommand(['init'], { cwd: dir })).toMatchObject({ code: 2 })
    expect(await runCommand(['init', 'a', 'b'], { cwd: dir })).toMatchObject({ code: 2 })
    expect(existsSync(join(dir, 'a'))).toBe(false)
  })

  test('a fresh git repository counts as empty', async () => {
    mkdirSync(join(dir, 'repo/.git'), { recursive: true })
    const { code, out } = await runCommand(['init', 'repo', '--json'], { cwd: dir })
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ dir: join(dir, 'repo') })
  })
})

test('the node that is wanted is the one that package.json names', () => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } }
  expect(engines.node).toBe(`>=${NODE_WANTED}`)
  expect(['12.22.12', '18.20.0', '20.9.0', '20.18.3'].map(nodeIsOld)).toEqual([true, true, true, true])
  expect(['20.19.0', '20.19.5', '22.0.0', '24.11.0'].map(nodeIsOld)).toEqual([false, false, false, false])
})
