/** `millrace top` in a real terminal: tmux holds the screen, presses the keys and changes its size. */
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { MAIN, scratch, start, until, write, writePipeline } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const hasTmux = spawnSync('tmux', ['-V']).status === 0

/** A tmux server of the test's own, with one shell. */
function tmux(dir: string, columns: number, rows: number) {
  const socket = join(dir, 'tmux.sock')
  const ask = (...words: readonly string[]): string =>
    execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...words], { encoding: 'utf8' })
  const env = { ...process.env, TERM: 'xterm-256color', PS1: '$ ', ENV: '', BASH_ENV: '' }
  const size = ['-x', String(columns), '-y', String(rows)]
  execFileSync('tmux', ['-S', socket, '-f', '/dev/null', 'new-session', '-d', '-s', 't', ...size, 'sh'], {
    env,
  })
  cleanups.push(() => spawnSync('tmux', ['-S', socket, 'kill-server']))
  return {
    type: (text: string) => ask('send-keys', '-t', 't', text, 'Enter'),
    press: (key: string) => ask('send-keys', '-t', 't', key),
    resize: (x: number, y: number) => ask('resize-window', '-t', 't', '-x', String(x), '-y', String(y)),
    screen: () => ask('capture-pane', '-p', '-t', 't'),
    /** 1: the alternate screen is on; the cursor; whether keys are echoed. */
    modes: () => ask('display-message', '-p', '-t', 't', '#{alternate_on} #{cursor_flag}').trim(),
  }
}

// Without tmux on this machine there is no terminal to drive.
describe.skipIf(!hasTmux)('millrace top, in tmux', () => {
  test('shows the pipeline with its counts, follows the size, leaves on q and gives the terminal back', async () => {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('hot').from(topic('metrics', { partitions: 1 })).groupBy('room').disorder(0)
        .window(tumbling('1s'), { mean: mean() }).detect('mean', threshold({ above: 30 }))`,
    )
    const node = await start(['run', pipeline, '--data', join(dir, 'data')], cleanups)
    const nowMs = Date.now()
    const lines = [0, 1_000, 2_000].map((ms) => `temperature,room=attic value=99 ${nowMs - 5_000 + ms}`)
    expect((await write(node.url, lines.join('\n'))).status).toBe(204)
    const terminal = tmux(dir, 100, 24)
    const shows = (wanted: RegExp): Promise<string> =>
      until(async () => {
        const screen = terminal.screen()
        return wanted.test(screen) ? screen : null
      }, 60_000)
    // What is typed ahead of the prompt may be lost.
    await shows(/[$#] *$/m)
    terminal.type('echo before')
    await shows(/^before$/m)
    terminal.type(
      `'${process.execPath}' '${MAIN}' top --url ${node.url}; echo "left with $?"; stty -a | tr ' ' '\\n' | grep -x -e '-\\?echo;\\?' -e '-\\?icanon;\\?'`,
    )
    const screen = await shows(
      /hot +running[^\n]* 3 [\s\S]*firing +\S+ s +hot\/mean-threshold \{room="attic"\}/,
    )
    expect(screen).toContain(node.url)
    expect(screen).not.toContain('before')
    expect(terminal.modes()).toBe('1 0')
    terminal.resize(40, 8)
    await until(async () => {
      const cut = terminal
        .screen()
        .split('\n')
        .filter((line) => line !== '')
      return cut.length <= 8 && cut[0]!.startsWith('millrace') && cut.every((line) => line.length <= 40)
        ? true
        : null
    }, 60_000)
    terminal.press('q')
    await shows(/left with 0/)
    expect(terminal.modes()).toBe('0 1')
    expect(await shows(/^icanon$/m)).toMatch(/^echo$/m)
    expect(await node.kill('SIGTERM')).toBe(0)
  })

  test('Ctrl-C and a node that is gone leave it clean too', async () => {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('p').from(topic('metrics')).window(tumbling('1s'), { n: count() })`,
    )
    const node = await start(['run', pipeline, '--data', join(dir, 'data')], cleanups)
    const terminal = tmux(dir, 100, 24)
    const shows = (wanted: RegExp): Promise<string> =>
      until(async () => {
        const screen = terminal.screen()
        return wanted.test(screen) ? screen : null
      }, 60_000)
    await shows(/[$#] *$/m)
    terminal.type(`'${process.execPath}' '${MAIN}' top --url ${node.url}; echo "left with $?"`)
    await shows(/p +running/)
    expect(await node.kill('SIGKILL')).toBe('SIGKILL')
    await shows(/does not answer; asking again/)
    terminal.press('C-c')
    await shows(/left with 0/)
    expect(terminal.modes()).toBe('0 1')
  })
})
