"""List, print and copy the recipes: complete options files for both stages.

`copy` writes the options files of a recipe with your folders and names, ready to run.
"""

import argparse
import os

MODEL_ZOO = 'https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md'
ROLES = {
    'hr': 'HR images',
    'lr': 'camera images',
    'generated': 'generated LR',
    'kernels': 'blur kernels',
    'val_hr': 'validation, HR images',
    'val_lr': 'validation, camera images',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions `list`, `show` and `copy` with their arguments."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='{list,show,copy}')
    actions.add_parser('list', help='list the recipes and their files')
    show = actions.add_parser('show', help='print a recipe')
    show.add_argument('recipe', help='recipe or file, such as track1 or track1/train_dsn')
    copy = actions.add_parser('copy', help='write the options files of a recipe for your own images')
    copy.add_argument('recipe', help='recipe, such as track1')
    copy.add_argument('--hr', required=True, help='folder of HR images')
    copy.add_argument('--lr', required=True, help='folder of camera images')
    copy.add_argument('-o', '--output', required=True, help='folder of the copied options files')
    copy.add_argument('--name', default='my', help='name of the experiments: NAME_dsn, NAME_srn (default: %(default)s)')
    copy.add_argument('--generated', help='folder of the generated set (default: `generated` next to the HR folder)')
    copy.add_argument('--val_hr', help='folder of HR images for validation')
    copy.add_argument('--val_lr', help='folder of camera images for validation, of the same scenes as --val_hr')
    copy.add_argument('--overwrite', action='store_true', help='overwrite existing options files')


def run(args: argparse.Namespace) -> int:
    """Run an action and return the exit status."""
    return {'list': _list, 'show': _show, 'copy': _copy}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from usrdu_basicsr.options.recipes import list_recipes

    for name, files in list_recipes().items():
        print(name)
        for file in files:
            print(f'  {file.name}: stage {file.stage}. {file.description}')
    return 0


def _show(args: argparse.Namespace) -> int:
    from usrdu_basicsr.options.recipes import find_recipe

    files = find_recipe(args.recipe)
    for file in files:
        if len(files) > 1:
            print(f'--- # {file.name}')  # separates documents in YAML
        print(file.text, end='')
    return 0


def _copy(args: argparse.Namespace) -> int:
    from usrdu_basicsr.options.recipe_copy import Folders, copy_recipe
    from usrdu_basicsr.options.recipes import list_recipes, select

    recipe = select(list_recipes(), args.recipe)
    folders = Folders(args.hr, args.lr, args.generated, args.val_hr, args.val_lr)
    copied = copy_recipe(recipe, folders, args.output, args.name, args.overwrite)
    for file in copied.files:
        print(f'Wrote {file}')
    for role, meaning in ROLES.items():
        if role in copied.folders:
            print(f'{meaning}: {copied.folders[role]}')
    for entry in copied.left_out:
        print(f'Left out: {entry}')
    for key, path in copied.missing.items():
        print(f"Download '{os.path.basename(path)}' from {MODEL_ZOO} to '{path}', or set {key}: ~")
    return 0
