/**
 * The guide, executed: every page of docs/guide in a folder of its own, from top to bottom, as a reader would. Code blocks
 * with `file=NAME` are written, `sh` blocks run by bash with `npx millrace` being the build, those marked `background`
 * stay until the page ends, those marked `fails` must fail; each line of a `text` block is in the output before it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { MAIN, ROOT, scratch, until } from './process.ts'

const GUIDE = join(ROOT, 'docs/guide')
const PAGES = readdirSync(GUIDE).filter((file) => file.endsWith('.md'))

interface Block {
  readonly line: number
  readonly language: string
  readonly words: readonly string[]
  readonly text: string
}

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = []
  let open: { line: number; info: string; lines: string[] } | null = null
  for (const [i, line] of markdown.split('\n').entries()) {
    if (open === null) {
      if (line.startsWith('```')) open = { line: i + 1, info: line.slice(3), lines: [] }
    } else if (line === '```') {
      const [language = '', ...words] = open.info.split(' ')
      blocks.push({ line: open.line, language, words, text: `${open.lines.join('\n')}\n` })
      open = null
    } else open.lines.push(line)
  }
  expect(open, 'every block is closed').toBeNull()
  return blocks
}

/** A folder in which the package is installed, as far as a reader can tell. */
function folder(): { readonly dir: string; readonly env: NodeJS.ProcessEnv } {
  const dir = scratch(cleanups)
  const bin = join(dir, '.bin')
  mkdirSync(bin)
  mkdirSync(join(dir, 'node_modules'))
  symlinkSync(ROOT, join(dir, 'node_modules/millrace'))
  const npx = join(bin, 'npx')
  writeFileSync(npx, `#!/bin/sh\nshift\nexec "${process.execPath}" "${MAIN}" "$@"\n`)
  chmodSync(npx, 0o755)
  return {
    dir,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, NO_COLOR: '1', MILLRACE_PORT: '0' },
  }
}

interface Shell {
  readonly child: ChildProcess
  output(): string
  readonly ended: Promise<number | null>
}

function bash(script: string, dir: string, env: NodeJS.ProcessEnv): Shell {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', script], { cwd: dir, env, detached: true })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  }
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => resolve(code))
  })
  cleanups.push(async () => {
    try {
      // Its process group: the shell and what it started.
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // It has ended.
    }
    await ended
  })
  return { child, output: () => output, ended }
}

describe.each(PAGES)('%s', (page) => {
  const blocks = blocksOf(readFileSync(join(GUIDE, page), 'utf8'))

  test('every block is something that is executed or compared', () => {
    for (const { line, language, words } of blocks) {
      const isFile = ['ts', 'js'].includes(language) && words.some((word) => word.startsWith('file='))
      const isShell = language === 'sh' && words.every((word) => ['background', 'fails'].includes(word))
      expect(isFile || isShell || (language === 'text' && words.length === 0), `${page}:${line}`).toBe(true)
    }
  })

  test('runs as it stands', { timeout: 180_000 }, async () => {
    const { dir, env } = folder()
    let output = ''
    for (const { line, language, words, text } of blocks) {
      const where = `${page}:${line}`
      const file = words.find((word) => word.startsWith('file='))?.slice('file='.length)
      if (file !== undefined) writeFileSync(join(dir, file), text)
      else if (language === 'text') {
        for (const wanted of text.split('\n')) expect(output, where).toContain(wanted)
      } else if (words.includes('background')) {
        const shell = bash(text, dir, env)
        env.MILLRACE_URL = await until(async () => {
          const url = /http:\/\/127\.0\.0\.1:\d+/.exec(shell.output())?.[0]
          if (url === undefined && shell.child.exitCode !== null)
            throw new Error(`${where}: ${shell.output()}`)
          return url ?? null
        }, 60_000)
      } else {
        const shell = bash(text, dir, env)
        const code = await shell.ended
        output = shell.output()
        if (words.includes('fails')) expect(code, `${where}: ${output}`).not.toBe(0)
        else expect(code, `${where}: ${output}`).toBe(0)
      }
    }
  })
})
